"""What may run the tasks of a build besides this machine's processes."""
