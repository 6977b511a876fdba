"""What pages in a browser have in common: text made safe, one look, a server for this machine."""
