"""Checks of the kernels that make batches of a set of images."""
