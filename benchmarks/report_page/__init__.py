"""A run's page, timed."""
