"""Data cards: head, text and pictures, also in a folder of their own without the data."""
