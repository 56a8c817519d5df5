"""The engine beside PyTorch, which `python -m ttfs_cupy.bench` runs: who is compared, what comes out, as tables."""
