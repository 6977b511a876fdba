"""What lies elsewhere than on this machine: sets in buckets, sets and readers on the hub."""
