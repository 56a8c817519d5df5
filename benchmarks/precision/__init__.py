"""What precision costs in accuracy: python -m ttfs_cupy.benchmarks.precision."""
