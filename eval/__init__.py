"""From a reader and a dev set to predictions and the official SQuAD scores."""
