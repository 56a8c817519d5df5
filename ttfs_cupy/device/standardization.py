"""Standardised weights of all layers at once (docs/model.md, "Standardised weights"), one launch forward, one backward.

A neuron's weights lie `neurons` apart, so work is cut into strips of neighbouring neurons: each row of a strip is
contiguous. A CPU's thread has a strip at a time (kernels/standardization.cpp), a GPU's block as well
(kernels/cooperative/reductions/standardized_weights.cu). The order of a sum depends on its layer alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.device.arrays import Array
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.interface import Device
from ttfs_cupy.device.parts import part_range, parts

# Of a strip, at most. A CPU reads whole rows, one after another, a third faster than pieces of rows; but more than two
# threads need more strips than that. A GPU reads a sector of 32 bytes at a time.
CPU_COLUMNS, NARROW_COLUMNS, GPU_COLUMNS = 512, 64, 8

THREADS = 256
_CONSTANTS = (("THREADS", THREADS), ("COLUMNS", GPU_COLUMNS))
FORWARD = Variant("standardize_weights_by_blocks", _CONSTANTS, THREADS)
BACKWARD = Variant("standardized_gradients_by_blocks", _CONSTANTS, THREADS)
VARIANTS = (FORWARD, BACKWARD)


@dataclass(frozen=True)
class WeightMatrix:
    """A layer's weights, (inputs, neurons), from that place on. first_gain: None for weights that are trained as they
    are."""

    first: int
    inputs: int
    neurons: int
    first_gain: int | None


def strips(matrices: Sequence[WeightMatrix], columns: int) -> np.ndarray:
    """int32 (strips, 5), as kernels/strips.h reads them: of at most so many neurons each.

    In such an order that equal shares of the strips, one after another, are about equal shares of the work.
    """
    found = []
    for matrix in matrices:
        for number in range(parts(matrix.neurons, columns)):
            first, last = part_range(number, columns, matrix.neurons)
            gain = -1 if matrix.first_gain is None else matrix.first_gain + first
            found.append((matrix.first + first, matrix.neurons, matrix.inputs, last - first, gain))
    found.sort(key=lambda strip: -strip[2] * strip[3])
    bits = max(1, (len(found) - 1).bit_length())
    # dealt out like cards, to halves, their halves, and so on
    order = sorted(range(len(found)), key=lambda rank: int(f"{rank:0{bits}b}"[::-1], 2))
    return np.array([found[rank] for rank in order], np.int32).reshape(-1, 5)


def columns_of(device: Device) -> int:
    """Of a strip on it, at most. Sums go along columns, so bits do not depend on it."""
    if device.gpu is not None:
        return GPU_COLUMNS
    return CPU_COLUMNS if device.workers <= 2 else NARROW_COLUMNS


def standardize(
    device: Device,
    table: Array,
    trained: Array,
    update: Array | None,
    statistics: Array,
    weights: Array,
    gains_at: int,
) -> None:
    """weights from trained: raw weights, and gains from gains_at on. statistics: float32 (2 gains,).

    update: of the step that changed trained (kernels/decide_update.h); where it was skipped nothing is written.
    """
    count, arguments = len(table), (table, trained, update, statistics, weights, gains_at)
    if device.gpu is None:
        device.launch("standardize_weights", weights.size, *arguments, count)
        return
    device.launch_blocks(FORWARD, count, 0, *arguments, count)


def gradients(
    device: Device, table: Array, trained: Array, statistics: Array, grad: Array, grad_trained: Array, gains_at: int
) -> None:
    """grad_trained = dLoss/d(trained) from grad = dLoss/d(weights), and the statistics that `standardize` left."""
    count, arguments = len(table), (table, trained, statistics, grad, grad_trained, gains_at)
    if device.gpu is None:
        device.launch("standardized_gradients", grad.size, *arguments, count)
        return
    device.launch_blocks(BACKWARD, count, 0, *arguments, count)
