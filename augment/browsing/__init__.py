"""A set to look at: every copy beside its original, in the browser or as one file."""
