"""Convolution on tensor cores, in the emulator, against float64: operands rounded as the kernels do, and not at all.

The emulator finds races, reads of what was never written, and steps beyond an array by itself: they are errors of any
test here. Each case runs threads and blocks in an order of its own.
"""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.tensorcore_case import (
    AMPERE,
    HOPPER,
    Array,
    Case,
    cases,
    check_spikes,
    error,
    nchw,
    rounded_to_tf32,
    shapes,
)
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reference import earliness

from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore import split
from ttfs_cupy.convolution.tensorcore import tiles as tensorcore_tiles
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.gpu_limits import of_capability

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

# Tensor cores truncate as they add, and the emulator does so, too; float64 does not.
SAME_ROUNDING = 1e-6
UNROUNDED = 2e-6

many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Forward


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
@many
@given(data=st.data())
def test_weight_sums_and_potentials(capability: tuple[int, int], data: st.DataObject) -> None:
    """A readout's potential is A + L T S, the two sums that a spiking neuron takes."""
    case = _by_any_group_tile(data.draw(cases(pooled=False, capability=capability)))
    out = case.forward(fires=False)
    of_sum, of_drive = case.squares()
    factor = case.psp_slope * case.t_win
    for (weight_sum, drive), allowed in ((case.split_sums(), SAME_ROUNDING), (case.sums(), UNROUNDED)):
        assert error(out.output, drive + factor * weight_sum, of_drive + factor**2 * of_sum) <= allowed
        if out.weight_sum is not None:
            assert error(out.weight_sum, weight_sum, of_sum) <= allowed


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
@many
@given(data=st.data())
def test_spikes(capability: tuple[int, int], data: st.DataObject) -> None:
    case = _by_any_group_tile(data.draw(cases(capability=capability)))
    check_spikes(case, UNROUNDED)
    assert case.device.reports[-1][0].needs_warpgroups == (capability == HOPPER)


def _by_any_group_tile(case: Case) -> Case:
    """Where there are warpgroups, they multiply, though warps may be faster for a small image.

    With less shared memory, some kernels that step far do not fit.
    """
    assume(TensorCore.fits(case.shape, case.device) is None)
    if case.capability == HOPPER:
        taps = case.algorithm.shape.taps
        tile = len(tensorcore_tiles.forward_tiles(taps)) + case.seed % len(tensorcore_tiles.group_tiles(taps))
        case.__dict__["algorithm"] = TensorCore(case.device, case.shape, tile)
    return case


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
def test_a_silent_input_leaves_silence(capability: tuple[int, int]) -> None:
    """To the last bit: what fires counts in the mask of all that it feeds."""
    case = Case(ConvolutionShape((6, 6), 20, 24, (3, 3), padding=(1, 1)), 2, 1.0, 1.0, False, 0, capability=capability)
    case.inputs[0] = 0
    out = case.forward(fires=True)
    assert not out.output[0].any() and out.output[1].any()


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
def test_the_faintest_spike_counts_in_the_mask(capability: tuple[int, int]) -> None:
    """An earliness below the smallest half is still a spike, with its whole weight in S."""
    case = Case(ConvolutionShape((1, 1), 16, 8, (1, 1)), 1, 1.0, 1.0, False, 3, capability=capability)
    case.inputs[...] = 0
    case.inputs[0, 0, 0, 5], case.inputs[0, 0, 0, 6] = 1e-20, -1e-20
    out = case.forward(fires=False)
    assert out.weight_sum is not None
    assert error(out.weight_sum[0, 0, 0], case.weights[0, 0, 5] + case.weights[0, 0, 6].astype(np.float64)) <= 1e-6


def test_numbers_beyond_a_half_count_as_the_largest() -> None:
    case = Case(ConvolutionShape((1, 1), 16, 8, (1, 1)), 1, 1.0, 1.0, False, 3)
    case.inputs[...] = 0
    case.inputs[0, 0, 0, 2] = 1
    case.weights[...] = 0
    case.weights[0, 0, 2, 1] = 1e6
    out = case.forward(fires=False)
    assert out.weight_sum is not None
    assert out.weight_sum[0, 0, 0, 1] == split.LARGEST_WEIGHT
    assert np.isfinite(out.output).all()


FULL = ConvolutionShape((2, 2), 301, 70, (2, 2))


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
@pytest.mark.parametrize("tile", range(7))
def test_full_connections_add_ranges_of_their_inputs(tile: int, capability: tuple[int, int]) -> None:
    """1204 inputs are 76 chunks: 9 ranges, of which one block adds 8, and one these and the last."""
    for psp_slope, fires in ((1.0, True), (1.0, False), (0.0, True)):
        case = Case(FULL, 5, psp_slope, 1.0, False, 11, capability=capability)
        tiles = case.algorithm.variants("forward")
        case.__dict__["algorithm"] = TensorCore(case.device, FULL, tile % len(tiles))
        assert tensorcore_tiles.forward_ranges(case.algorithm.shape) == 9 > tensorcore_tiles.FAN
        for _ in range(2):  # the second finds the counters as the first left them
            if fires:
                check_spikes(case, UNROUNDED)
                continue
            of_sum, of_drive = case.squares()
            weight_sum, drive = case.sums()
            assert error(case.forward(fires=False).output, drive + weight_sum, of_drive + of_sum) <= UNROUNDED
        assert dict(case.device.reports[-1][0].constants)["RANGED"] == 1
        assert not case.algorithm.arrived.any()


def test_images_get_the_same_spikes_in_any_batch() -> None:
    """To the last bit, of full connections, too: ranges do not depend on the batch."""
    for shape in (FULL, ConvolutionShape((6, 6), 40, 24, (3, 3), padding=(1, 1))):
        many_images, few = Case(shape, 70, 1.0, 1.0, False, 3), Case(shape, 3, 1.0, 1.0, False, 3)
        few.__dict__["inputs"], few.__dict__["weights"] = many_images.inputs[:3], many_images.weights
        out, of_few = many_images.forward(fires=True), few.forward(fires=True)
        np.testing.assert_array_equal(out.output[:3], of_few.output)
        assert out.weight_sum is not None and of_few.weight_sum is not None
        np.testing.assert_array_equal(out.weight_sum[:3], of_few.weight_sum)


def test_a_batch_beyond_the_counters_is_summed_at_once() -> None:
    case = Case(FULL, 5, 1.0, 1.0, False, 11)
    object.__setattr__(case.algorithm, "arrived", case.algorithm.arrived[:9])
    check_spikes(case, UNROUNDED)
    assert dict(case.device.reports[-1][0].constants)["RANGED"] == 0


# Backward


@many
@given(cases(), st.booleans())
def test_data_gradient(case: Case, fires: bool) -> None:
    assume(fires or not case.pooled)
    check_data_gradient(case, fires)


def check_data_gradient(case: Case, fires: bool) -> None:
    outgoing, to_drive, _ = _outgoing(case, fires)
    grad_images = np.full_like(case.inputs, np.nan)
    case.run("data_gradient", outgoing, case.weights, grad_images)
    assert error(grad_images, case.summed_data_gradient(to_drive)) <= SAME_ROUNDING


@many
@given(cases(), st.booleans(), st.sampled_from([2, 500]))
def test_weight_gradient(case: Case, fires: bool, multiprocessors: int) -> None:
    assume(fires or not case.pooled)
    check_weight_gradient(case, fires, multiprocessors)


def check_weight_gradient(case: Case, fires: bool, multiprocessors: int) -> None:
    """With many multiprocessors the pixels are cut into ranges, short ones here, which are added up in a tree."""
    case.device.gpu = of_capability((9, 0), multiprocessors)
    fewest = 16 if multiprocessors > 2 else tensorcore_tiles.FEWEST_RANGE_PIXELS
    with patch.object(tensorcore_tiles, "FEWEST_RANGE_PIXELS", fewest):
        _check_weight_gradient(case, fires)


def _check_weight_gradient(case: Case, fires: bool) -> None:
    outgoing, to_drive, to_sum = _outgoing(case, fires)
    grad_weights = np.full_like(case.weights, np.nan)
    for _ in range(2):  # the second finds the counters as the first left them
        case.run("weight_gradient", case.inputs, outgoing, grad_weights)
    launch = case.algorithm._sum_launch(case.images)
    assert error(grad_weights, case.summed_weight_gradient(to_drive, to_sum, launch.range_pixels)) <= SAME_ROUNDING
    assert not case.algorithm.arrived.any()


def _outgoing(case: Case, fires: bool) -> tuple[OutgoingGradient, Array, Array]:
    """A gradient of the layer's output; dLoss/dA and dLoss/dS of its neurons in TF32."""
    draw = np.random.default_rng(case.seed + 2)
    grad, spikes = draw.standard_normal(case.out_shape, np.float32), case.spikes(draw)
    kept = spikes if case.psp_slope else Activations(spikes.output, None, spikes.winner)
    if fires:
        return OutgoingGradient(case.neuron, grad, kept), *case.gradients(grad, spikes)
    to_sum = np.float32(case.psp_slope) * np.float32(case.t_win) * grad
    return OutgoingGradient(case.readout, grad, kept), rounded_to_tf32(grad), rounded_to_tf32(to_sum)


@pytest.mark.parametrize(
    "shape",
    [
        ConvolutionShape((6, 20), 8, 16, (5, 5), padding=(2, 2)),
        ConvolutionShape((4, 33), 20, 24, (1, 7), (1, 2), (0, 3)),
        ConvolutionShape((9, 9), 40, 16, (7, 4), (2, 1), (3, 1)),
        ConvolutionShape((17, 18), 70, 8, (3, 3), (2, 2), (1, 1)),
        ConvolutionShape((16, 28), 16, 8, (3, 3), padding=(1, 1)),
        ConvolutionShape((30, 1), 8, 8, (3, 3), padding=(1, 1)),
    ],
    ids=lambda shape: f"{shape.in_size}-{shape.kernel}-{shape.stride}",
)
def test_weight_gradients_of_wide_kernels_and_lines(shape: ConvolutionShape) -> None:
    """Kernels of several strips a row, lines longer than a step, steps of many lines."""
    for pooled in {False, min(shape.out_size) >= 2}:
        check_weight_gradient(Case(shape, 2, 1.0, 1.0, pooled, 5), fires=True, multiprocessors=500)


@given(shapes(), st.integers(1, 40))
@settings(deadline=None)
def test_halos_have_room_for_what_a_step_sees(shape: ConvolutionShape, width: int) -> None:
    shape = replace(shape, in_size=(5, (width - 1) * shape.stride[1] + shape.kernel[1]), padding=(0, 0))
    assert shape.out_size[1] == width
    halo, paired = tensorcore_tiles.halo_of_step(shape)
    for start in range(0, 16 * width, 16):
        # columns of the images in the order in which a strip's taps come to them, line by line
        columns = [((p // width), (p % width) * shape.stride[1]) for p in range(start, start + 16)]
        seen = list(dict.fromkeys((line, x + tap) for line, x in columns for tap in range(min(shape.kernel[1], 3))))
        assert len(seen) <= halo
        places = [seen.index(first) for first in columns]
        assert not paired or [place + 1 for place in places[::2]] == places[1::2]


def test_a_weight_gradient_takes_no_more_blocks_than_run_at_a_time() -> None:
    """Of 512 to 512 channels, 64 tiles of weights: one range of pixels each, where two would be 128 blocks for 108."""
    shape, gpu = ConvolutionShape((8, 8), 512, 512, (3, 3), padding=(1, 1)), of_capability((8, 0), 108)
    ranges = [tile.most_ranges(shape, 256, gpu) for tile in tensorcore_tiles.sum_tiles(shape)]
    assert ranges[:4] == [1, 3, 5, 6]


def test_more_ranges_than_a_block_adds() -> None:
    """31 of them: four blocks add, and one of them adds what these found."""
    case = Case(ConvolutionShape((9, 9), 20, 24, (3, 3), padding=(1, 1)), 12, 1.0, 1.0, True, 4)
    with patch.object(tensorcore_tiles, "FEWEST_RANGE_PIXELS", 16):
        case.device.gpu = of_capability((9, 0), 500)
        assert case.algorithm._sum_launch(case.images).ranges == 31 > tensorcore_tiles.FAN
    check_weight_gradient(case, fires=True, multiprocessors=500)


def test_t2fsnns_clip() -> None:
    """Derivatives clipped apart (docs/model.md, `separate`)."""
    case = Case(ConvolutionShape((5, 5), 8, 12, (3, 3), padding=(1, 1)), 2, 1.0, 1.0, False, 4)
    object.__setattr__(case.neuron, "clip", "separate")
    draw = np.random.default_rng(0)
    grad, spikes = draw.standard_normal(case.out_shape, np.float32), case.spikes(draw)
    grad_weights, grad_images = np.full_like(case.weights, np.nan), np.full_like(case.inputs, np.nan)
    case.run("weight_gradient", case.inputs, OutgoingGradient(case.neuron, grad, spikes), grad_weights)
    case.run("data_gradient", OutgoingGradient(case.neuron, grad, spikes), case.weights, grad_images)
    rule = earliness.SpikingNeuron(1.0, 1.0, "separate", case.neuron.grad_clip)
    assert spikes.weight_sum is not None
    to_drive, to_sum = rule.gradient(nchw(grad), nchw(spikes.output), nchw(spikes.weight_sum))
    linear = case.linear(case.weights)
    expected = linear.weight_gradient(to_drive, nchw(case.inputs))
    expected += linear.weight_gradient(to_sum, (nchw(case.inputs) != 0).astype(np.float64))
    assert error(grad_weights, expected.transpose(2, 3, 1, 0)) <= 1e-3
    assert error(grad_images, linear.input_gradient(to_drive, nchw(case.inputs)).transpose(0, 2, 3, 1)) <= 1e-3


# Every way of cutting the work, and every order of threads


WHOLE = ConvolutionShape((14, 14), 40, 72, (3, 3), padding=(1, 1))


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
@pytest.mark.parametrize("index", range(9))
def test_every_tile_computes_the_same(index: int, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("forward_tiles", "group_tiles", "gradient_tiles", "sum_tiles"):
        candidates = getattr(tensorcore_tiles, name)

        def one(*taps: int, candidates: Any = candidates) -> list[Any]:
            found = candidates(*taps)
            return [found[index % len(found)]]

        monkeypatch.setattr(split, name, one)
    case = Case(WHOLE, 2, 1.0, 1.0, True, 9, capability=capability)
    check_spikes(case, UNROUNDED)
    check_data_gradient(case, fires=True)
    check_weight_gradient(case, fires=True, multiprocessors=500)


@pytest.mark.parametrize("capability", (AMPERE, HOPPER))
def test_the_order_of_threads_does_not_matter(capability: tuple[int, int]) -> None:
    """The same bits in 20 orders, also where ranges of pixels are added up by whoever comes last."""
    results = []
    for seed in range(20):
        case = Case(ConvolutionShape((9, 8), 20, 24, (3, 3), padding=(1, 1)), 8, 1.0, 1.0, True, 9)
        case.__dict__["device"] = EmulatedGpu(of_capability(capability, 500), seed=1000 * seed)
        out = case.forward(fires=True)
        draw = np.random.default_rng(0)
        grad = draw.standard_normal(case.out_shape, np.float32)
        outgoing = OutgoingGradient(case.neuron, grad, case.spikes(draw))
        grad_images, grad_weights = np.empty_like(case.inputs), np.empty_like(case.weights)
        case.run("data_gradient", outgoing, case.weights, grad_images)
        case.run("weight_gradient", case.inputs, outgoing, grad_weights)
        assert case.device.reports[-1][0].kernel == "tensorcore_weight_gradient"
        assert case.algorithm._sum_launch(case.images).ranges > 1
        results.append(b"".join(a.tobytes() for a in (out.output, out.weight_sum, grad_images, grad_weights)))  # type: ignore[union-attr]
    assert len(set(results)) == 1


# Where it does not fit


def test_a_named_tile_gives_way_where_pooling_leaves_no_room_for_it() -> None:
    """8x8 pixels on a card of 99 KiB: 128 x 128 leaves no room for the winners."""
    shape = ConvolutionShape((8, 8), 16, 32, (3, 3), padding=(1, 1))
    for pooled, tile in ((False, 0), (True, 3)):
        case = Case(shape, 2, 1.0, 1.0, pooled, 6, capability=(8, 9))
        assert 0 in case.algorithm.variants("data_gradient")
        case.__dict__["algorithm"] = TensorCore(case.device, shape, 0)
        check_data_gradient(case, fires=True)
        constants = dict(case.device.reports[-1][0].constants)
        assert constants.items() >= dict(tensorcore_tiles.gradient_tiles(9)[tile].constants).items()


def test_it_says_why_it_does_not_fit() -> None:
    shape = ConvolutionShape((32, 32), 64, 64, (3, 3), padding=(1, 1))
    assert TensorCore.fits(shape, EmulatedGpu()) is None
    assert "compute capability 8.0 or higher, which cpu is not" in str(TensorCore.fits(shape, CpuDevice(1)))
    assert "8.0" in str(TensorCore.fits(shape, EmulatedGpu(of_capability((7, 5), 40))))
    wide = ConvolutionShape((224, 224), 64, 64, (11, 11), (4, 4))
    assert "KiB of shared memory for a kernel of (11, 11)" in str(TensorCore.fits(wide, EmulatedGpu()))
