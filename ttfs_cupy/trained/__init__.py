"""A run's network, opened to be used."""
