"""From shards and a teacher to a six-layer student."""
