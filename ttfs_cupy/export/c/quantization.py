"""The integers of the int8 file: weights of 8 bits, spike times in 255 steps, and a rule without fractions.

A neuron of channel i has weights w = s_i W, W an integer in [-127, 127], and inputs x = T q / unit, q an integer, of
spikes in 0..255 with unit 255. With a = sum of W q and n = sum of W over inputs that spiked, docs/model.md's rule is
in units of T s_i / unit (each side multiplied by `fine`, which makes room for fractions where they matter):

    potential  p = fine a + initial         initial = b_i threshold
    threshold  U = fine unit / s_i          T in these units
    growth     g = slope n                  slope = fine unit λ; by it the potential grows, and D = (U + g) / U

    p >= U                    q = 255
    U + g > 0 and p + g > 0   q = 255 (p + g) / (U + g), to the nearest; at λ > 0 to 1 at least, since q also counts
    otherwise                 q = 0

so T cancels, and U, initial and slope, rounded to integers, are all that is stored.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.export.c.stages import Neurons, Stages

LEVELS = 127  # of weights, a side
STEPS = 255  # of a spike time in its window
# What the readout's potentials count T in, if that leaves room for the largest
ONE = 1 << 16

INT32 = 2**31 - 1
# A threshold of fewer units than the first would be rounded by more than half a step in 8,000; one of more than the
# second, of a channel of tiny weights, would ask for wider integers to resolve what no 8-bit time shows.
FEW_UNITS, MANY_UNITS = 1 << 12, 1 << 22
# Fractions, in binary places, where they are needed
FINE = 1 << 8
# A real-valued code is counted in steps of its largest value
CODE_STEPS = 2047


@dataclass(frozen=True)
class IntegerNeurons:
    """A layer in integers: weights int8 (out, inputs); threshold and initial int32 (out,); slope; scale float64 (out,),
    s_i above. counts_spikes: whether what spikes has one step at least, since it is also counted (in n of the next
    layer). most: what no potential, growth or divisor of its neurons exceeds in magnitude."""

    layer: Neurons
    weights: NDArray[np.int8]
    scale: NDArray[np.float64]
    threshold: NDArray[np.int64]
    initial: NDArray[np.int64]
    slope: int
    counts_spikes: bool
    most: int


@dataclass(frozen=True)
class IntegerStages:
    """layers: by name. code: int16 (C, maximum + 1) of a real-valued input code; None where pixels are spikes.
    fine: see above. one: what T is in the readout's potentials. is_wide: whether a neuron's rule needs 64 bits."""

    stages: Stages
    layers: dict[str, IntegerNeurons]
    code: NDArray[np.int16] | None
    fine: int
    one: int
    is_wide: bool

    @property
    def readout(self) -> IntegerNeurons:
        return self.layers[self.stages.readout.name]


def integers_of(stages: Stages) -> IntegerStages:
    """Rounds a network. Whatever its weights are, no sum overflows: their scale grows where it would."""
    code, unit = _code(stages)
    units = [unit, *[float(STEPS)] * (len(stages.weighted) - 1)]
    largest = [STEPS if code is None else int(np.abs(code.astype(np.int64)).max()), *[STEPS] * (len(units) - 1)]
    inputs = list(zip(stages.weighted, units, largest, strict=True))
    scales = [_scale(layer, unit, most) for layer, unit, most in inputs]
    fewest = min(float((unit / scale).min()) for unit, scale in zip(units, scales, strict=True))
    is_whole = all((unit * layer.slope).is_integer() for layer, unit, _ in inputs)
    fine = 1 if is_whole and fewest >= FEW_UNITS else FINE
    layers = {
        layer.name: _integers(layer, scale, fine, unit, most, stages.is_sloped)
        for (layer, unit, most), scale in zip(inputs, scales, strict=True)
    }
    one = _one(layers[stages.readout.name])
    factors = [steps_of(layer, stages, one) + 1 if layer.fires else 1 for layer in stages.weighted]
    is_wide = any(factor * layer.most > INT32 for factor, layer in zip(factors, layers.values(), strict=True))
    return IntegerStages(stages, layers, code, fine, one, is_wide)


def _one(readout: IntegerNeurons) -> int:
    """What T is in the readout's potentials: ONE, or less where the largest potential would overflow."""
    farthest = readout.most / int(readout.threshold.min())
    if farthest > INT32:
        raise UserError(f"potentials of {readout.layer.name} reach {farthest:.1e} times t_win, more than 32 bits hold")
    one = ONE
    while one * farthest > INT32:
        one //= 2
    return one


def steps_of(layer: Neurons, stages: Stages, one: int) -> int:
    """What T is in the layer's output. Spikes of a readout are counted finely, since they are compared."""
    return one if layer is stages.readout else STEPS


def _code(stages: Stages) -> tuple[NDArray[np.int16] | None, float]:
    """A real-valued code in integers, as a share of T, and what T is in them. Only what is 0 becomes 0: the mask."""
    if stages.encoder.is_spike_code:
        return None, float(STEPS)
    values = stages.code.astype(np.float64)
    if stages.encoder.encoding == "latency":
        values = values / stages.t_win
    unit = CODE_STEPS / max(float(np.abs(values).max()), 1e-30)
    steps = np.rint(values * unit)
    steps = np.where((steps == 0) & (values != 0), np.sign(values), steps)
    return steps.astype(np.int16), unit


def _scale(layer: Neurons, unit: float, most: int) -> NDArray[np.float64]:
    """s of each channel: its largest weight has 127 levels, but for what MANY_UNITS says, and no sum overflows."""
    rows = np.abs(layer.rows.astype(np.float64))
    scale = np.maximum(rows.max(axis=1) / LEVELS, unit / MANY_UNITS)
    # rounding may add half a level to each weight
    room = INT32 / most - rows.shape[1] / 2
    if room <= 0:
        raise UserError(
            f"layer {layer.name} has {rows.shape[1]:,} inputs to a neuron, whose sum 32 bits do not hold: the int8 "
            f"file takes up to {2 * INT32 // most:,}"
        )
    return np.maximum(scale, rows.sum(axis=1) / room)


def _integers(
    layer: Neurons, scale: NDArray[np.float64], fine: int, unit: float, largest: int, counts_spikes: bool
) -> IntegerNeurons:
    weights = np.rint(layer.rows.astype(np.float64) / scale[:, np.newaxis]).clip(-LEVELS, LEVELS).astype(np.int8)
    exact = fine * unit / scale
    threshold = np.maximum(np.rint(exact), 1).astype(np.int64)
    potential = np.zeros(len(scale)) if layer.potential is None else layer.potential.astype(np.float64)
    # a potential beyond what int32 holds is far beyond any threshold
    initial = np.rint(potential * exact).clip(-INT32, INT32).astype(np.int64)
    slope = round(fine * unit * layer.slope)
    sums = np.abs(weights.astype(np.int64)).sum(axis=1)
    most = int((fine * largest * sums + np.abs(initial) + slope * sums + threshold).max())
    return IntegerNeurons(layer, weights, scale, threshold, initial, slope, counts_spikes, most)
