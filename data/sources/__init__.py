"""Data sets by name: where their files lie, and what is read from them."""
