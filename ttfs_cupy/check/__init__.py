"""Tells whether ttfs_cupy works on this machine, and what to do where it does not: python -m ttfs_cupy.check."""
