"""What kernels are compared with, in float64, where a check needs more than a few lines of it."""
