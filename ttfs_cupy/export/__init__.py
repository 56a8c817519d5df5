"""A run's network, taken away: into formats of others, and into C."""
