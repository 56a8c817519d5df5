"""What `python -m ttfs_cupy.bench` measures: the engine beside PyTorch, and the engine's parts one by one.

And what precision costs: `python -m ttfs_cupy.benchmarks.precision`; and what psp_slope does to accuracy, spikes and
the precision that a network needs: `python -m ttfs_cupy.benchmarks.slope_study`. Making batches of augmented images,
beside torchvision: `python -m ttfs_cupy.benchmarks.augmentation`.
"""
