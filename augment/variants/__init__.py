"""From a text to its variants: words, candidates, replacement."""
