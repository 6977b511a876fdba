"""From sources to a finished set: the plan, the two stages, the manifest."""
