"""The integer network once more, in NumPy and straight from docs: what the int8 file must compute, to the bit."""

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.export.c.quantization import STEPS, IntegerNeurons, IntegerStages, steps_of
from ttfs_cupy.export.c.stages import Neurons, Pooling

Integers = NDArray[np.int64]


def potentials(integers: IntegerStages, pixels: NDArray[np.uint8]) -> Integers:
    """What ttfs_predict_int8 writes for images uint8 (N, height, width, channels): (N, classes)."""
    spikes = encoded(integers, pixels)
    for stage in integers.stages.stages:
        if isinstance(stage, Pooling):
            spikes = stage.window.earliest(spikes)
        elif stage is integers.stages.readout and not stage.fires:
            return _at_the_end(integers, spikes)
        else:
            layer = integers.layers[stage.name]
            steps = steps_of(stage, integers.stages, integers.one)
            fired = _fired(layer, *_sums(layer, spikes), steps, integers.fine)
            spikes = stage.window.earliest(fired)
    return spikes.reshape(len(spikes), -1)


def encoded(integers: IntegerStages, pixels: NDArray[np.uint8]) -> Integers:
    """The input code in integers, like the pixels in shape."""
    maximum = integers.stages.maximum
    values = np.minimum(pixels, maximum).astype(np.int64)
    if integers.code is None:
        return (values * STEPS + maximum // 2) // maximum
    channels = np.arange(pixels.shape[3])
    return integers.code[channels, values].astype(np.int64)


def _sums(layer: IntegerNeurons, spikes: Integers) -> tuple[Integers, Integers]:
    """The drive, and the weight sum, of every neuron: (N, height, width, out), before any pooling.

    Products of matrices in float64 are exact for integers that int32 can sum.
    """
    patches = _patches(layer.layer, spikes)
    columns = layer.weights.T.astype(np.float64)
    return ((patches.astype(np.float64) @ columns).astype(np.int64), ((patches != 0) @ columns).astype(np.int64))


def _patches(layer: Neurons, spikes: Integers) -> Integers:
    """What each neuron of a channel is connected with, (N, height, width, inputs), in the order of its weights."""
    if layer.kernel is None:
        return spikes.reshape(len(spikes), 1, 1, -1)
    (up, left), (down, right) = layer.padding, layer.stride
    padded = np.pad(spikes, ((0, 0), (up, up), (left, left), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, axis=(1, 2))[:, ::down, ::right]
    # (N, height, width, channels, kernel_h, kernel_w)
    in_order = windows.transpose(0, 1, 2, 4, 5, 3)
    return in_order.reshape(*in_order.shape[:3], -1)


def _fired(layer: IntegerNeurons, drive: Integers, weight_sum: Integers, steps: int, fine: int) -> Integers:
    """The rule of quantization.py."""
    potential = fine * drive + layer.initial
    growth = layer.slope * weight_sum
    divisor, reached = layer.threshold + growth, potential + growth
    meets = (divisor > 0) & (reached > 0)
    safe = np.where(meets, divisor, 1)
    rounded = (steps * np.where(meets, reached, 0) + safe // 2) // safe
    if layer.counts_spikes:
        rounded = np.maximum(rounded, 1)
    return np.where(potential >= layer.threshold, steps, np.where(meets, rounded, 0))


def _at_the_end(integers: IntegerStages, spikes: Integers) -> Integers:
    """The readout's potentials as its window ends, in `one` for T, to the nearest and halves away from 0."""
    layer = integers.readout
    drive, weight_sum = _sums(layer, spikes)
    scaled = (integers.fine * drive + layer.initial + layer.slope * weight_sum) * integers.one
    nearest = (np.abs(scaled) + layer.threshold // 2) // layer.threshold
    return (np.sign(scaled) * nearest).reshape(len(spikes), -1)
