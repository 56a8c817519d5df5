"""ttfs_cupy trains deep spiking neural networks with time-to-first-spike coding, on CuPy and CUDA kernels."""

from ttfs_cupy import checkout
from ttfs_cupy.errors import UserError
from ttfs_cupy.version import __version__

__all__ = ["UserError", "__version__"]

checkout.make_importable()
