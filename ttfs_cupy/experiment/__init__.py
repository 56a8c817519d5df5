"""A run, from its YAML file to what it leaves on disk."""
