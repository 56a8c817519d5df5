"""What each output of a convolution, or of a pooling, sees of its input: in NumPy."""

import numpy as np

from ttfs_cupy.convolution.shape import ConvolutionShape


def patches_of(images: np.ndarray, shape: ConvolutionShape, outside: float = 0) -> np.ndarray:
    """(rows, patch) of images NHWC, the patch in the order (kernel_h, kernel_w, channels)."""
    (top, left), (down, across) = shape.padding, shape.stride
    padded = np.pad(images, ((0, 0), (top, top), (left, left), (0, 0)), constant_values=outside)
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape.kernel, axis=(1, 2))[:, ::down, ::across]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, shape.patch_size)
