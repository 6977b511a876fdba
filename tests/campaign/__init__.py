"""A campaign of faults: `make campaign`. Files damaged, runs killed, inputs malformed; a table.

It walks what runs left on disk, so that a new stored file cannot be forgotten.
"""
