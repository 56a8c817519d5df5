"""Checks of direct.cu: convolutions as sums over taps of the padded images."""

from collections.abc import Iterator

import numpy as np

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.registry import check

BATCH = 5

# A first layer of one and of three channels; everything rectangular, with strides that leave inputs out; the largest
# patch that fits, as a full connection.
SHAPES = (
    ConvolutionShape((28, 27), 1, 37, (3, 3), (1, 1), (1, 1)),
    ConvolutionShape((11, 13), 3, 19, (3, 2), (2, 1), (1, 2)),
    ConvolutionShape((9, 8), 5, 6, (2, 1), (3, 2), (2, 3)),
    ConvolutionShape((4, 4), 4, 11, (4, 4)),
)


def _sizes(shape: ConvolutionShape) -> tuple[int, ...]:
    return (*shape.in_size, shape.in_channels, *shape.out_size, *shape.kernel, *shape.stride, *shape.padding)


def _patches(images: np.ndarray, shape: ConvolutionShape) -> np.ndarray:
    """(rows, patch) in float64, the patch in the order (kernel_h, kernel_w, channels)."""
    (top, left), (down, across) = shape.padding, shape.stride
    padded = np.pad(images.astype(np.float64), ((0, 0), (top, top), (left, left), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape.kernel, axis=(1, 2))[:, ::down, ::across]
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, shape.patch_size)


def _pieces(rows: int) -> Iterator[tuple[int, int]]:
    """(first row, rows): all of them, and a piece that starts and ends inside an image."""
    yield 0, rows
    yield rows // 3 + 1, rows // 2


@check(tolerance=1e-6)
def direct_forward(bench: Bench) -> None:
    for shape in SHAPES:
        images = bench.spikes(BATCH, *shape.in_size, shape.in_channels)
        weights = bench.normal(shape.patch_size, shape.out_channels)
        patches, size = _patches(images, shape), np.abs(weights.astype(np.float64))
        for first, rows in _pieces(len(patches)):
            part = patches[first : first + rows]
            for with_sum in (0, 1):
                blanks = (bench.blank(rows, shape.out_channels), bench.blank(rows, shape.out_channels))
                arguments = (images, weights, *blanks, with_sum, first, rows, shape.out_channels, *_sizes(shape))
                drive, weight_sum = bench.launch(rows * shape.out_channels, *arguments)
                bench.compare(drive, part @ weights, part @ size)
                mask = (part != 0).astype(np.float64)
                expected = mask @ weights if with_sum else blanks[1]
                bench.compare(weight_sum, expected, mask @ size)


@check(tolerance=1e-6)
def direct_weight_gradient(bench: Bench) -> None:
    for shape in SHAPES:
        images = bench.spikes(BATCH, *shape.in_size, shape.in_channels)
        patches = _patches(images, shape)
        rows = len(patches)
        to_drive, to_sum = bench.normal(rows, shape.out_channels), bench.normal(rows, shape.out_channels)
        for group_rows in (rows, rows // 3 + 1):
            groups = -(-rows // group_rows)
            for with_sum in (0, 1):
                expected, bound = [], []
                for first in range(0, rows, group_rows):
                    part = slice(first, first + group_rows)
                    values, mask = patches[part], with_sum * (patches[part] != 0)
                    expected.append(values.T @ to_drive[part] + mask.T @ to_sum[part])
                    bound.append(values.T @ np.abs(to_drive[part]) + mask.T @ np.abs(to_sum[part]))
                blank = bench.blank(groups, shape.patch_size, shape.out_channels)
                arguments = (images, to_drive, to_sum, with_sum, blank, groups, group_rows, rows, shape.out_channels)
                (sums,) = bench.launch(groups * shape.out_channels, *arguments, *_sizes(shape))
                bench.compare(sums, np.array(expected), np.array(bound))
