"""GloVe vectors and masked LMs fitted to a text."""
