"""Checks of patches.cu: patches of images and of gradients, by padding and slicing; transposing; ordered sums."""

import itertools
from collections.abc import Iterator

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.convolution.shape import ConvolutionShape

BATCH = 5
COUNT = 70_003

# The usual one; strides, padding and kernel all rectangular; a padding wider than the kernel's reach with strides that
# leave inputs out; a full connection, which is a kernel that covers its input.
SHAPES = (
    ConvolutionShape((11, 13), 37, 19, (3, 3), (1, 1), (1, 1)),
    ConvolutionShape((19, 17), 37, 3, (3, 2), (2, 1), (1, 2)),
    ConvolutionShape((8, 9), 5, 37, (2, 1), (3, 5), (2, 3)),
    ConvolutionShape((4, 3), 37, 6, (4, 3)),
)


def _sizes(shape: ConvolutionShape, channels: int) -> tuple[int, ...]:
    return (*shape.in_size, channels, *shape.out_size, *shape.kernel, *shape.stride, *shape.padding)


def _chunks(rows: int) -> tuple[tuple[int, int], ...]:
    """(first row, rows): all of them, and a piece that starts and ends inside an image."""
    return (0, rows), (rows // 3 + 1, rows // 2)


def _taps(shape: ConvolutionShape) -> Iterator[tuple[int, slice, slice]]:
    """Each tap with what it sees of the padded image at every output, vertically and horizontally."""
    (out_h, out_w), (stride_h, stride_w) = shape.out_size, shape.stride
    for tap, (dy, dx) in enumerate(itertools.product(*map(range, shape.kernel))):
        rows = slice(dy, dy + (out_h - 1) * stride_h + 1, stride_h)
        yield tap, rows, slice(dx, dx + (out_w - 1) * stride_w + 1, stride_w)


def _padding(shape: ConvolutionShape) -> tuple[tuple[int, int], ...]:
    return (0, 0), (shape.padding[0],) * 2, (shape.padding[1],) * 2, (0, 0)


@check(tolerance=0.0)
def gather_patches(trial: KernelTrial) -> None:
    for shape in SHAPES:
        images = trial.spikes(BATCH, *shape.in_size, shape.in_channels)
        images[0, -1, -1] = np.nan
        padded = np.pad(images, _padding(shape))
        expected = np.stack([padded[:, rows, columns] for _, rows, columns in _taps(shape)], axis=3)
        expected = expected.reshape(BATCH * shape.out_pixels, shape.patch_size)
        for first, count in _chunks(len(expected)):
            part = expected[first : first + count]
            for has_mask, values in ((0, part), (1, np.concatenate([part, part != 0]))):
                arguments = (images, trial.blank(*values.shape), first, count, has_mask)
                (patches,) = trial.launch(part.size, *arguments, *_sizes(shape, shape.in_channels))
                trial.compare(patches, values)


@check(tolerance=0.0)
def gather_output_gradients(trial: KernelTrial) -> None:
    for shape in SHAPES:
        grads = trial.unbounded(BATCH, *shape.out_size, shape.out_channels)
        # the other way round: each output hands its gradient to the inputs that it saw
        padded_size = (size + 2 * padding for size, padding in zip(shape.in_size, shape.padding, strict=True))
        padded = np.zeros((BATCH, *padded_size, shape.taps, shape.out_channels), np.float32)
        for tap, rows, columns in _taps(shape):
            padded[:, rows, columns, tap] = grads
        (top, left), (height, width) = shape.padding, shape.in_size
        expected = padded[:, top : top + height, left : left + width]
        expected = expected.reshape(BATCH * shape.in_pixels, shape.taps * shape.out_channels)
        for first, count in _chunks(len(expected)):
            part = expected[first : first + count]
            arguments = (grads, trial.blank(*part.shape), first, count)
            (patches,) = trial.launch(part.size, *arguments, *_sizes(shape, shape.out_channels))
            trial.compare(patches, part)


@check(tolerance=0.0)
def transpose_weights(trial: KernelTrial) -> None:
    for taps, in_channels, out_channels in ((9, 37, 211), (6, 1, 37), (1, 300, 1)):
        weights = trial.unbounded(taps, in_channels, out_channels)
        blank = trial.blank(taps, out_channels, in_channels)
        (transposed,) = trial.launch(weights.size, weights, blank, taps, in_channels, out_channels)
        trial.compare(transposed, weights.swapaxes(1, 2))


@check(tolerance=1e-6)
def sum_parts(trial: KernelTrial) -> None:
    for parts in (1, 2, 16):
        terms = trial.unbounded(parts, COUNT)
        (result,) = trial.launch(COUNT, terms, trial.blank(COUNT), parts, COUNT)
        trial.compare(result, terms.sum(axis=0, dtype=np.float64), np.abs(terms).sum(axis=0, dtype=np.float64))
