"""How long a training step should take on GPUs that are not at hand: python -m ttfs_cupy.benchmarks.gpu_model."""
