"""What `python -m ttfs_cupy.bench` measures: the engine beside PyTorch, and the engine's parts one by one."""
