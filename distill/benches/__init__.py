"""The predecessors' way, to compare with."""
