"""Readers to be asked: a page, and how their answers are shown."""
