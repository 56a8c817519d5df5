"""Sums over many values: the gradient's norm, the loss, counts of spikes. Here alone the two targets part.

A CPU's threads each have a contiguous share (kernels/reductions.cpp). A GPU's blocks read parts together, neighbouring
threads neighbouring addresses (kernels/cooperative/reductions); where the sum of all is needed, the
block that comes last adds the parts, so that a launch is enough. Parts depend on the sizes alone, and so do the bits.

By counting, for vgg11 on an H100 (3.35 TB/s): the norm reads 10.1 million gradients, 40.4 MB, 12.1 us at least;
counting the spikes of its ten layers at batch 128 reads 369 MB, 110 us. With shares of a thread each, as CPUs like
them, a warp takes a sector of 32 bytes for every 4 that it wants at a time, and 1,024 threads for the norm, or 256 for
spikes, wait some 600 ns for each of their 1,235, or 45,056, sectors, one after another: 0.7 ms and 27 ms.
"""

import math

import numpy as np

from ttfs_cupy.device.arrays import Array
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.interface import Device
from ttfs_cupy.device.parts import parts

# Partial sums of an array: enough to occupy any CPU's threads and any GPU's multiprocessors.
PARTS = 1024

# Of the decisions about steps, and of a loss: how many numbers are counted (kernels/decide_update.h, cross_entropy.h).
COUNTS = 5
TOTALS = 6

# Of a GPU's block. By each of its rounds its threads read 4 values each.
THREADS = 256
ROUND = 4 * THREADS

# Of a part on a GPU: what a block reads at once if its threads are to wait for memory only once.
FEWEST_ROUNDS = 4

# Of a histogram of spike times (kernels/spike_times.cu), and its partial counts on a GPU, a thread each: enough of them
# to keep memory busy while each waits for it.
SPIKE_TIME_BINS = 32
GPU_HISTOGRAM_PARTS = 1 << 14

# On a GPU, for work of a warp each; more work is done in turns, whose count must not overflow 32 bits.
MOST_BLOCKS = 1 << 16

_CONSTANTS = (("THREADS", THREADS),)
PREPARE_UPDATE = Variant("prepare_update_by_blocks", _CONSTANTS, THREADS)
CROSS_ENTROPY = Variant("cross_entropy_by_blocks", _CONSTANTS, THREADS)
COUNT_SPIKES = Variant("count_spikes_by_blocks", _CONSTANTS, THREADS)
FIND_SPIKES = Variant("find_spikes_by_warps", _CONSTANTS, THREADS)
VARIANTS = (PREPARE_UPDATE, CROSS_ENTROPY, COUNT_SPIKES, FIND_SPIKES)


def part_size(size: int) -> int:
    """Values of a part on a GPU, whole rounds of a block, so that every part is aligned; at most PARTS of them."""
    return ROUND * max(FEWEST_ROUNDS, math.ceil(size / PARTS / ROUND))


def blocks_of_parts(size: int) -> int:
    """A part each."""
    return parts(size, part_size(size))


def blocks_of_warps(rows: int) -> int:
    """A row for each of a block's warps, as far as there are blocks."""
    return min(parts(rows, THREADS // WARP), MOST_BLOCKS)


def prepare_update(
    device: Device,
    gradients: Array,
    sums: Array,
    arrived: Array,
    rate: Array,
    update: Array,
    counts: Array,
    settings: tuple[float, float, float],
) -> None:
    """Decides about a step by the norm of its gradients: update and counts are those of kernels/decide_update.h.

    sums: float32 (PARTS,), scratch. counts: int64 (COUNTS,). arrived: int32 (1,), 0 before the first call. settings:
    clip_norm, beta1, beta2.
    """
    size = int(gradients.size)
    if device.gpu is None:
        device.launch("sum_squares", size, gradients, sums, PARTS, size)
        device.launch("prepare_update", 1, sums, rate, update, counts, *settings, PARTS)
        return
    cut = (blocks_of_parts(size), part_size(size), size)
    arguments = (gradients, sums, arrived, rate, update, counts, *settings, *cut)
    device.launch_blocks(PREPARE_UPDATE, blocks_of_parts(size), 0, *arguments)


def cross_entropy(
    device: Device,
    potentials: Array,
    labels: Array,
    others: Array | None,
    shares: Array | None,
    smoothing: float,
    weights: Array | None,
    marks: Array,
    grad: Array,
    row_loss: Array,
    row_correct: Array,
    arrived: Array,
    totals: Array,
    images: int | None = None,
) -> None:
    """The gradient of the mean weighted cross-entropy; the totals grow by the rows' losses, correct predictions, rows.

    images: how many the mean is of, where the rows are a part of a batch only; None for the rows.

    totals: float64 (TOTALS,), these three of batches whose loss is finite; of the others correct, rows and batches.

    A row's target is its label, in shares of 1 or, float32 (rows,), `shares`, for the rest the label in `others`; and
    of all that `smoothing`, in [0, 1], evenly every class. Correct is the label of the larger share. weights: float32
    (classes,), None for 1; a row's loss is multiplied by its label's, of two labels by theirs in their shares.

    row_loss and row_correct, (rows,) at least, are scratch. arrived: int32 (1,), 0 before the first call. marks: int32
    (2,), {of this batch, to be told}. Where the first is set, or a label is no class or a share outside [0, 1], which
    sets the second, the gradient is NaN and the totals stay.
    """
    rows, classes = potentials.shape
    targets = (labels, others, shares, smoothing, weights)
    sizes = (rows, rows if images is None else images, classes)
    if device.gpu is None:
        outputs = (grad, row_loss, row_correct)
        device.launch("cross_entropy", rows, potentials, *targets, marks, *outputs, *sizes)
        device.launch("add_to_totals", 1, row_loss, row_correct, marks, totals, rows)
        return
    arguments = (potentials, *targets, marks, grad, row_loss, row_correct, arrived, totals, *sizes)
    device.launch_blocks(CROSS_ENTROPY, blocks_of_warps(rows), 0, *arguments)


def count_spikes(device: Device, earliness: Array, t_win: float, counts: Array) -> None:
    """Adds how many neurons fired, and how many of them as their window opened, to counts, int64 (PARTS, 2), whose sums
    over the parts are the numbers."""
    size = int(earliness.size)
    if device.gpu is None:
        device.launch("count_spikes", size, earliness, counts, t_win, PARTS, size)
        return
    arguments = (earliness, counts, t_win, blocks_of_parts(size), part_size(size), size)
    device.launch_blocks(COUNT_SPIKES, blocks_of_parts(size), 0, *arguments)


def spike_time_counts(device: Device) -> Array:
    """Zeros for `count_spike_times`: int64 (parts, SPIKE_TIME_BINS)."""
    return device.xp.zeros((PARTS if device.gpu is None else GPU_HISTOGRAM_PARTS, SPIKE_TIME_BINS), np.int64)


def count_spike_times(device: Device, earliness: Array, window: float, counts: Array) -> None:
    """Adds how many neurons fired in each of SPIKE_TIME_BINS equal shares of [0, window] to counts, whose sum over the
    parts is the histogram: those of `spike_time_counts`."""
    size, rows = int(earliness.size), len(counts)
    # a CPU's thread has neighbouring values, a GPU's neighbouring threads have
    work, turn = (size, parts(size, rows)) if device.gpu is None else (rows, 1)
    device.launch("count_spike_times", work, earliness, counts, window, SPIKE_TIME_BINS / window, turn, rows, size)


def find_spikes(device: Device, images: Array, spiked: Array) -> None:
    """Of each pixel, whose channels are contiguous in images, 1 if any of them fired, else 0."""
    pixels = int(spiked.size)
    channels = int(images.size) // max(1, pixels)
    if device.gpu is None:
        device.launch("find_spikes", images.size, images, spiked, pixels, channels)
        return
    device.launch_blocks(FIND_SPIKES, blocks_of_warps(pixels), 0, images, spiked, pixels, channels)
