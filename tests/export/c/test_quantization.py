"""The integers of the int8 file beside docs/model.md's rule in float64, and the bounds that keep them in 32 bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import c_kinds, network_kinds
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.export.c import reference
from ttfs_cupy.export.c.quantization import FINE, INT32, LEVELS, ONE, STEPS, IntegerStages, integers_of, steps_of
from ttfs_cupy.export.c.stages import Neurons, Stages, stages_of
from ttfs_cupy.neuron.encoding import Encoder

CODE = np.arange(256, dtype=np.float32)[np.newaxis] / np.float32(255)


def one_layer(rows: np.ndarray, potential: np.ndarray | None = None, slope: float = 0.0) -> Stages:
    """Neurons that spike, on pixels, and a readout on them, which no test looks at."""
    outputs, inputs = rows.shape
    layer = Neurons("linear1", (1, 1, inputs), (1, 1, outputs), rows, potential, slope, fires=True)
    last = np.ones((2, outputs), np.float32)
    zeros = None if potential is None else np.zeros(2, np.float32)
    readout = Neurons("readout", (1, 1, outputs), (1, 1, 2), last, zeros, slope, fires=False)
    return Stages((1, 1, inputs), 255, Encoder(), CODE, slope, (layer, readout))


def rule(rows: np.ndarray, pixels: np.ndarray, potential: np.ndarray, slope: float) -> tuple[np.ndarray, ...]:
    """Of docs/model.md, "A spiking layer", at T = 1, in float64: earliness, A, D, and A + λ S, each (out,)."""
    x = pixels / 255
    drive = rows @ x + potential
    weight_sum = rows @ (x != 0)
    divisor, reached = 1 + slope * weight_sum, drive + slope * weight_sum
    meets = (divisor > 0) & (reached > 0)
    inside = np.where(meets, reached / np.where(meets, divisor, 1), 0)
    return np.where(drive >= 1, 1.0, inside), drive, divisor, reached


@given(
    st.integers(1, 40),
    st.floats(1e-4, 0.05),
    st.sampled_from([0.0, 1.0, 0.5, 0.37, 1e-3]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_a_spike_is_where_the_rule_has_it(inputs: int, scale: float, slope: float, charged: bool, seed: int) -> None:
    """With weights that 8 bits hold exactly, what is left is the rounding of the threshold, the charge, the slope and
    the time; each by half a unit, of which the first three have `fine` * 255 / scale in T."""
    draws = np.random.default_rng(seed)
    rows = draws.integers(-LEVELS, LEVELS + 1, (8, inputs))
    rows[:, 0] = LEVELS  # so that the scale is found again
    pixels = draws.integers(0, 256, inputs).astype(np.uint8) * (draws.random(inputs) < 0.6)
    potential = draws.normal(0, 0.5, 8) if charged else np.zeros(8)
    weights = (rows * scale).astype(np.float32)
    integers = integers_of(one_layer(weights, potential.astype(np.float32) if charged else None, slope))
    layer = integers.layers["linear1"]
    assert (layer.weights == rows).all()
    sums = reference._sums(layer, pixels.astype(np.int64).reshape(1, 1, 1, -1))
    found = reference._fired(layer, *sums, STEPS, integers.fine).reshape(-1)
    potential = potential.astype(np.float32).astype(np.float64)
    x, drive, divisor, reached = rule(weights.astype(np.float64), pixels, potential, slope)
    half = 0.5 / layer.threshold
    counted = np.abs(sums[1].reshape(-1)) if slope else 0
    # of float32's weights and of what was rounded: of reached and divisor
    error = 1e-6 * (1 + np.abs(rows).sum(axis=1) * scale) + half * (2 + counted)
    is_clear = (np.abs(drive - 1) > error) & (np.abs(reached) > error) & (np.abs(divisor) > 2 * error)
    inside = (x > 0) & (x < 1)
    bound = 0.5 + np.where(inside, 255 * error * 2 / np.maximum(divisor - error, 1e-9), 0) + (slope > 0) * 0.5
    assert (np.abs(found - 255 * x) <= bound)[is_clear].all()
    assert ((found > 0) >= ((x > 0) & (slope > 0)))[is_clear].all()


@pytest.mark.parametrize("options", c_kinds.KINDS, ids=str)
def test_weights_are_rounded_to_the_nearest_of_127_levels(options: dict[str, Any]) -> None:
    integers = integers_of(stages_of(network_kinds.network(**options), 255))
    for layer in integers.layers.values():
        back = layer.weights * layer.scale[:, np.newaxis]
        assert (np.abs(back - layer.layer.rows) <= 0.5001 * layer.scale[:, np.newaxis]).all()
        assert np.abs(layer.weights.astype(int)).max() <= LEVELS


def worst(integers: IntegerStages) -> None:
    """No int32 overflows for the inputs that are worst for each neuron."""
    for layer in integers.layers.values():
        weights = layer.weights.astype(np.int64)
        first = layer is next(iter(integers.layers.values()))
        most = STEPS if integers.code is None or not first else int(np.abs(integers.code.astype(int)).max())
        for chosen in (weights > 0, weights < 0):
            drive = most * (weights * chosen).sum(axis=1)
            if first and integers.code is not None:
                drive = most * np.abs(weights).sum(axis=1)  # codes have both signs
            growth = layer.slope * (weights * chosen).sum(axis=1)
            assert np.abs(drive).max() <= INT32
            reached = np.abs(integers.fine * drive + layer.initial + growth)
            assert max(reached.max(), np.abs(layer.threshold + growth).max()) <= layer.most
        assert layer.threshold.min() >= 1 and layer.threshold.max() <= INT32
        assert np.abs(layer.initial).max() <= INT32 and layer.slope <= INT32
        if not integers.is_wide:
            steps = steps_of(layer.layer, integers.stages, integers.one) if layer.layer.fires else 0
            assert (steps + 1) * layer.most <= INT32
    readout = integers.readout
    if not readout.layer.fires:
        assert readout.most * integers.one // readout.threshold.min() <= INT32


@pytest.mark.parametrize("options", c_kinds.KINDS, ids=str)
def test_no_sum_overflows(options: dict[str, Any]) -> None:
    worst(integers_of(stages_of(network_kinds.network(**options), 255)))


@given(
    st.sampled_from([1, 3, 1000, 200_000]),
    st.sampled_from([1e-30, 1e-5, 0.02, 1.0, 1e4, 1e30]),
    st.sampled_from([0.0, 0.37, 1.0]),
    st.sampled_from([None, 0.5, -1e6]),
)
def test_no_sum_overflows_however_large(inputs: int, size: float, slope: float, charge: float | None) -> None:
    rows = np.full((2, inputs), size, np.float32)
    rows[1, ::2] *= -1
    worst(integers_of(one_layer(rows, None if charge is None else np.full(2, charge, np.float32), slope)))


def test_a_neuron_of_too_many_inputs_is_refused() -> None:
    inputs = 2 * INT32 // STEPS + 1
    rows = np.broadcast_to(np.float32(1), (1, inputs))
    layer = Neurons("linear1", (1, 1, inputs), (1, 1, 1), rows, None, 0.0, fires=True)
    with pytest.raises(UserError, match=r"^layer linear1 has 16,843,009 inputs to a neuron, whose sum 32 bits do not"):
        integers_of(Stages((1, 1, inputs), 255, Encoder(), CODE, 0.0, (layer, layer)))


def test_potentials_are_in_finer_units_the_smaller_they_are() -> None:
    ones = []
    for size in (1.0, 1e5, 1e7):
        stages = one_layer(np.ones((3, 4), np.float32))
        readout = replace(stages.readout, weights=np.full((2, 3), size, np.float32))
        ones.append(integers_of(replace(stages, stages=(stages.stages[0], readout))).one)
    assert ones[0] == ONE > ones[1] > ones[2] >= 1
    readout = replace(readout, weights=np.full((2, 300), 1e30, np.float32))
    with pytest.raises(UserError, match=r"^potentials of readout reach 2\.5e\+09 times t_win, more than 32 bits hold$"):
        integers_of(replace(stages, stages=(stages.stages[0], readout)))


def test_fractions_are_kept_where_they_matter() -> None:
    small, large = np.full((1, 4), 0.1, np.float32), np.full((1, 4), 50, np.float32)
    assert integers_of(one_layer(small, slope=1.0)).fine == 1
    assert integers_of(one_layer(small, slope=0.3)).fine == FINE
    assert integers_of(one_layer(large)).fine == FINE


def test_only_a_pixel_of_code_0_becomes_0() -> None:
    net = network_kinds.network(psp_slope=0.0, standardize=True, mean=np.float32([0.5, 1]), std=np.float32([1e-3, 1]))
    stages = stages_of(net, 254)
    code = integers_of(stages).code
    assert code is not None
    assert ((code == 0) == (stages.code == 0)).all()
    assert code[0, 127] == 0 and code[1, 253] == -1 and code[1, 254] == 0
