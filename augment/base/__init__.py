"""What every command uses: starting and failing, files put in place whole, processes."""
