"""What the commands stand on: starting and failing, files put in place whole, processes."""
