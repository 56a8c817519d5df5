"""Several processes as one run: how they are started and meet, what they exchange, and how all end if one does."""
