"""NaN and infinity are never lost on their way through a convolution, in any pass and precision (in the emulator)."""

from typing import Any

import numpy as np
import pytest
from emulator import Emulator, why_not
from helpers.tensorcore_case import AMPERE, HOPPER, Array, Case

from ttfs_cupy.convolution.algorithm import Pass
from ttfs_cupy.convolution.direct import Direct
from ttfs_cupy.convolution.first_layer import FirstLayer
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tf32 import TensorCoreTf32
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device.compilation import source

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

# Numbers planted for each operand of each pass of each algorithm; a thousand have been.
TIMES = 12

SHAPE = ConvolutionShape((5, 6), 7, 9, (3, 3), padding=(1, 1))
OF_IMAGES = ConvolutionShape((5, 6), 3, 9, (3, 3), padding=(1, 1))

# NVIDIA's NaN, with its sign, another that keeps one bit beyond TF32's, and infinities.
PLANTED = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0xFFC00000, 0x7F800000, 0xFF800000], np.uint32).view(np.float32)

# Algorithm, shape and compute capability
WAYS: dict[str, tuple[Any, ConvolutionShape, tuple[int, int]]] = {
    "split": (TensorCore, SHAPE, AMPERE),
    "split, by groups": (TensorCore, SHAPE, HOPPER),
    "tf32": (TensorCoreTf32, SHAPE, AMPERE),
    "tf32, by groups": (TensorCoreTf32, SHAPE, HOPPER),
    "first_layer": (FirstLayer, OF_IMAGES, AMPERE),
    "direct": (Direct, OF_IMAGES, AMPERE),
    "gemm": (Gemm, SHAPE, AMPERE),
    "winograd": (Winograd, SHAPE, AMPERE),
}
# What a pass reads, and which of it is planted in.
OPERANDS: list[tuple[Pass, str]] = [
    ("forward", "weights"),
    ("forward", "inputs"),
    ("data_gradient", "gradient"),
    ("data_gradient", "weights"),
    ("weight_gradient", "gradient"),
    ("weight_gradient", "inputs"),
]


def planted(values: Array, draw: np.random.Generator, where: Array | None = None) -> Array:
    """With one number that is not finite, at a place of those."""
    result = values.copy()
    places = np.flatnonzero(np.ones(values.shape) if where is None else where)
    result.reshape(-1)[draw.choice(places)] = draw.choice(PLANTED)
    assert not np.isfinite(result).all()
    return result


def result_of(case: Case, which: Pass, operand: str, draw: np.random.Generator) -> Array:
    """What a pass makes of operands of which one has a number that is not finite."""
    inputs = planted(case.inputs, draw) if operand == "inputs" else case.inputs
    weights = planted(case.weights, draw) if operand == "weights" else case.weights
    if which == "forward":
        return potentials(case, inputs, weights)
    spikes = case.spikes(draw)
    x, t_win = spikes.output, np.float32(case.t_win)
    grad = draw.standard_normal(case.out_shape, np.float32)
    if operand == "gradient":
        # of a neuron that passes gradients on
        grad = planted(grad, draw, (x > 0) & (x < t_win))
    kept = spikes if case.psp_slope else Activations(x, None, spikes.winner)
    outgoing = OutgoingGradient(case.neuron, grad, kept)
    target = np.zeros_like(case.inputs if which == "data_gradient" else case.weights)
    if which == "data_gradient":
        case.run(which, outgoing, weights, target)
    else:
        case.run(which, inputs, outgoing, target)
    return target


def potentials(case: Case, inputs: Array, weights: Array) -> Array:
    """Membrane potentials where the algorithm has a readout, else the weight sums and drives of neurons.

    A neuron of NaN is silent: its own output does not show it.
    """
    out = Activations(np.zeros(case.out_shape, np.float32))
    if isinstance(case.algorithm, (Winograd, Direct, FirstLayer)):
        sums = Activations(out.output, np.zeros_like(out.output))
        case.run("forward", inputs, weights, case.neuron, sums)
        assert sums.weight_sum is not None
        return sums.weight_sum
    case.run("forward", inputs, weights, case.readout, out)
    return out.output


@pytest.mark.parametrize(("which", "operand"), OPERANDS, ids=["-".join(one) for one in OPERANDS])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_finite_is_never_lost(way: str, which: Pass, operand: str) -> None:
    kind, shape, capability = WAYS[way]
    if way.endswith("by groups") and which != "forward":
        pytest.skip("the gradients have no warpgroups: as without")
    lost = []
    for seed in range(TIMES):
        draw = np.random.default_rng(seed)
        psp_slope, pooled = float(draw.choice([1.0, 0.5, 0.0])), kind.joins_pooling and bool(draw.integers(2))
        if which == "forward":
            # S is what tells of forward in neurons, and S sees an input's mask only
            psp_slope, pooled = 1.0, False
            if operand == "inputs" and kind in (Winograd, Direct, FirstLayer):
                pytest.skip("a neuron's drive is not kept; test_a_neuron_of_nan_is_silent")
        case = Case(shape, 2, psp_slope, 1.0, pooled, seed, kind, capability)
        if np.isfinite(result_of(case, which, operand, draw)).all():
            lost.append((seed, psp_slope, pooled))
    assert not lost


@pytest.mark.parametrize("way", ["first_layer", "direct", "winograd", "split", "tf32"])
def test_a_neuron_of_nan_is_silent(way: str) -> None:
    """And one of an infinite drive fires at once: the rule of docs/model.md, read with comparisons that NaN fails."""
    kind, shape, capability = WAYS[way]
    case = Case(shape, 1, 0.0, 1.0, False, 0, kind, capability)
    for number in (np.nan, np.inf):
        inputs = np.full_like(case.inputs, number)
        out = Activations(np.full(case.out_shape, np.nan, np.float32))
        case.run("forward", inputs, np.abs(case.weights) + np.float32(0.1), case.neuron, out)
        seen = np.unique(out.output)
        # a border's padding times an infinity is no number either, where it is multiplied
        assert np.isfinite(seen).all() and set(seen) <= {0.0, 1.0}


OLD_AND_NEW = """
DEVICE unsigned add_half_a_unit(float value) { return __float_as_uint(value) + 0x1000u; }
#include "operands.h"
// 16 x 8 products of `value` by 1, in TF32: with the old rounding of it, and with the new ones
KERNEL void products(float value, float zero, float* __restrict__ out) {
    const float made = value * zero;  // infinity times 0 is what arithmetic makes NaN of
    const unsigned one = __float_as_uint(1.0f);
    const unsigned rounded[3] = {add_half_a_unit(made), round_to_tf32(made), round_to_tf32_at_once(made)};
    for (int i = 0; i < 3; ++i) {
        const unsigned fragment[4] = {rounded[i], rounded[i], rounded[i], rounded[i]};
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        multiply_tf32(sum, fragment, one, one);
        if (threadIdx.x == 0) out[i] = sum[0];
    }
}
"""


def test_the_emulator_makes_nvidias_nan() -> None:
    """So that a rounding which loses it shows: half a unit, added to the bits, makes -0 of it."""
    operands = (source.path("pack_weights").parent / "operands.h").read_text()
    emulator = Emulator(OLD_AND_NEW.replace('#include "operands.h"\n', operands))
    out = np.zeros(3, np.float32)
    emulator.launch("products", 1, 32, 0, float("inf"), 0.0, out)
    assert out[0] == 0 and np.isnan(out[1:]).all()
    assert (out[1:].view(np.uint32) == 0x7FFFFFFF).all()


ALL_PATTERNS = """
#include "operands.h"
// Counts, of the 2^24 bit patterns from `first` on, those that a rounding makes finite, or not
KERNEL void patterns(int first, int* __restrict__ wrong) {
    GRID_LOOP(i, 1 << 24) {
        const float value = __uint_as_float((unsigned)first + (unsigned)i);
        const bool finite = fabsf(value) <= 3.402823466e38f;
        const float by_bits = __uint_as_float(round_to_tf32(value) & 0xffffe000u);
        const float at_once = __uint_as_float(round_to_tf32_at_once(value) & 0xffffe000u);
        const float unit = 1.220703125e-4f * fabsf(value) * 8.0f;
        const bool lost = !finite && (fabsf(by_bits) <= 3.402823466e38f || fabsf(at_once) <= 3.402823466e38f);
        const bool far = fabsf(value) < 3.4e38f && fabsf(value) > 1e-37f &&
                         (fabsf(by_bits - value) > 0.5f * unit || fabsf(at_once - value) > 0.71f * unit);
        if (lost || far) ++wrong[threadIdx.x];
    }
}
"""


@pytest.mark.parametrize("first", [0x7F000000, 0xFF000000, 0x3F000000, 0x00000000], ids=hex)
def test_every_pattern_of_some_exponents(first: int) -> None:
    """The largest numbers, infinity and every NaN of both signs; numbers around 1; subnormals and the smallest."""
    operands = (source.path("pack_weights").parent / "operands.h").read_text()
    emulator = Emulator(ALL_PATTERNS.replace('#include "operands.h"\n', operands))
    wrong = np.zeros(32, np.int32)
    emulator.launch("patterns", 1, 32, 0, first - (1 << 32 if first >> 31 else 0), wrong)
    assert not wrong.any()
