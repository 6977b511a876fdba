"""From rows of a set to the batches of every step."""
