"""Convolutions on the tensor cores of a GPU: two algorithms, and how their work is cut into blocks."""
