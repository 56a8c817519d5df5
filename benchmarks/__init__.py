"""What `python -m ttfs_cupy.bench` measures: the engine beside PyTorch, and the engine's parts one by one.

And what precision costs: `python -m ttfs_cupy.benchmarks.precision`.
"""
