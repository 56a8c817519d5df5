"""What psp_slope and standardised weights do: python -m ttfs_cupy.benchmarks.slope_study."""
