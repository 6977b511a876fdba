"""A reader as a graph for another runtime: writing, checking, measuring it."""
