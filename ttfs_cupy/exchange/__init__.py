"""Weights from and to PyTorch: which tensor of a file is which layer's, and a network as a module of PyTorch's."""
