"""From a checkpoint and a question to an answer: windows, logits, protocols."""
