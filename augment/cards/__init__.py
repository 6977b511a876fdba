"""Data cards: their head, their text, their pictures, and what is kept of a set without the set."""
