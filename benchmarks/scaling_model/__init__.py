"""Data-parallel training on GPUs that are not at hand, predicted: python -m ttfs_cupy.benchmarks.scaling_model."""
