"""The first layer's kernels in the emulator, against float64.

The emulator finds races, reads of what was never written, and steps beyond an array by itself: they are errors of any
test here. Each case runs threads and blocks in an order of its own.
"""

from dataclasses import replace

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.machine_code import skip_without_tools
from helpers.tensorcore_case import Array, Case, cases, check_spikes, error, nchw
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from reference import comparison, earliness
from reference.specification import random_images, read

from ttfs_cupy import models
from ttfs_cupy.convolution import algorithm, choice, first_layer
from ttfs_cupy.convolution.first_layer import FirstLayer, Tiles
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation import disassembly, nvrtc, source
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import of_capability
from ttfs_cupy.device.parts import parts, parts_of_tree
from ttfs_cupy.engine.plan import stages_of

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

# Of float32
ROUNDING = 1e-6

many = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Channels, kernel and stride are constants to the compiler, so that there are only a few of them.
PATCHES = [
    *((3, (3, 3), (1, 1)), (1, (3, 3), (1, 1)), (2, (2, 3), (2, 1)), (1, (5, 5), (2, 2))),
    *((27, (1, 1), (1, 1)), (3, (1, 2), (1, 3)), (1, (1, 1), (3, 2)), (3, (3, 3), (2, 2))),
]


@st.composite
def shapes(draw: st.DrawFn) -> ConvolutionShape:
    """Sizes and channels that are no multiple of a window or of 4; more channels than a block has."""
    channels, kernel, stride = draw(st.sampled_from(PATCHES))
    padding = draw(st.tuples(st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)))
    height, width = (draw(st.integers(max(1, k - 2 * p), 14)) for k, p in zip(kernel, padding, strict=True))
    out_channels = draw(st.integers(1, 24) | st.sampled_from([4, 64, 96, 128, 130, 260]))
    return ConvolutionShape((height, width), channels, out_channels, kernel, stride, padding)


def first_layers(*, pooled: bool = True) -> st.SearchStrategy[Case]:
    return cases(pooled=pooled, kind=FirstLayer, of_shapes=shapes())


SHAPE = ConvolutionShape((9, 8), 3, 24, (3, 3), padding=(1, 1))


@many
@given(shapes(), st.integers(1, 70), st.integers(1, 20))
def test_a_smaller_batch_needs_no_more_workspace(shape: ConvolutionShape, count: int, multiprocessors: int) -> None:
    """It is made for the largest batch of a run, of which the last one is smaller: 6 images were summed in 6 ranges
    where 4 were summed in 8."""
    device = EmulatedGpu()
    device.gpu = replace(device.gpu, multiprocessors=multiprocessors)
    layer = FirstLayer(device, shape)  # type: ignore[arg-type]
    planned = layer.workspace(count, "weight_gradient")
    for fewer in range(1, count + 1):
        ranges, _ = layer._ranges(fewer)
        sums = shape.patch_size * first_layer.CHANNELS_OF_A_THREAD * layer._lanes * layer._channel_blocks
        assert parts_of_tree(ranges, first_layer.FAN) * sums <= planned


# Forward


@many
@given(first_layers(pooled=False))
def test_weight_sums_and_potentials(case: Case) -> None:
    """A readout's potential is A + L T S, the two sums that a spiking neuron takes."""
    out = case.forward(fires=False)
    (weight_sum, drive), (of_sum, of_drive) = case.sums(), case.squares()
    factor = case.psp_slope * case.t_win
    assert error(out.output, drive + factor * weight_sum, of_drive + factor**2 * of_sum) <= ROUNDING
    if out.weight_sum is not None:
        assert error(out.weight_sum, weight_sum, of_sum) <= ROUNDING


@many
@given(first_layers())
def test_spikes(case: Case) -> None:
    check_spikes(case, ROUNDING)


def test_a_silent_input_leaves_silence() -> None:
    """To the last bit: what fires counts in the mask of all that it feeds."""
    case = Case(SHAPE, 2, 1.0, 1.0, False, 0, FirstLayer)
    case.inputs[0] = 0
    out = case.forward(fires=True)
    assert not out.output[0].any() and out.output[1].any()


def test_of_a_tie_the_first_place_wins() -> None:
    case = Case(ConvolutionShape((4, 4), 1, 5, (1, 1)), 1, 1.0, 1.0, True, 0, FirstLayer)
    case.inputs[...] = 0.25
    case.weights[...] = 2
    out = case.forward(fires=True)
    assert out.winner is not None and out.output.all() and not out.winner.any()


def test_the_drive_may_be_scaled() -> None:
    """A coding layer's, by T; it needs no weight sum."""
    case = Case(SHAPE, 2, 0.0, 2.0, False, 1, FirstLayer)
    object.__setattr__(case.neuron, "scale", 2.0)
    out = case.forward(fires=True)
    assert error(out.output, np.clip(2 * case.sums()[1], 0, 2)) <= ROUNDING


# Backward


@many
@given(first_layers(), st.booleans(), st.sampled_from([1, 2, 40, 500]))
def test_weight_gradient(case: Case, fires: bool, multiprocessors: int) -> None:
    assume(fires or not case.pooled)
    case.device.gpu = of_capability((9, 0), multiprocessors)
    outgoing, to_drive, to_sum = _outgoing(case, fires)
    grad_weights = np.full_like(case.weights, np.nan)
    for _ in range(2):  # the second finds the counters as the first left them
        case.run("weight_gradient", case.inputs, outgoing, grad_weights)
    check_weight_gradient(case, grad_weights, to_drive, to_sum)
    assert not case.algorithm.arrived.any()


def check_weight_gradient(case: Case, actual: Array, to_drive: Array, to_sum: Array) -> None:
    inputs, linear = nchw(case.inputs), case.linear(case.weights)
    mask = (inputs != 0).astype(np.float64)
    expected = linear.weight_gradient(nchw(to_drive), inputs) + linear.weight_gradient(nchw(to_sum), mask)
    squares = linear.weight_gradient(nchw(to_drive) ** 2, inputs**2) + linear.weight_gradient(nchw(to_sum) ** 2, mask)
    assert error(actual, expected.transpose(2, 3, 1, 0), squares) <= ROUNDING


@settings(max_examples=50, deadline=None)
@given(first_layers(), st.booleans())
def test_data_gradient(case: Case, fires: bool) -> None:
    """Of few channels that are not a network's input; with pooling, too, of which gemm knows nothing."""
    assume(fires or not case.pooled)
    outgoing, to_drive, _ = _outgoing(case, fires)
    grad_images = np.full_like(case.inputs, np.nan)
    case.run("data_gradient", outgoing, case.weights, grad_images)
    expected = case.linear(case.weights).input_gradient(nchw(to_drive), nchw(case.inputs))
    squares = case.linear(case.weights**2).input_gradient(nchw(to_drive) ** 2, nchw(case.inputs))
    assert error(grad_images, expected.transpose(0, 2, 3, 1), squares) <= ROUNDING


def _outgoing(case: Case, fires: bool) -> tuple[OutgoingGradient, Array, Array]:
    """A gradient of the layer's output; dLoss/dA and dLoss/dS of its neurons."""
    draw = np.random.default_rng(case.seed + 2)
    grad, spikes = draw.standard_normal(case.out_shape, np.float32), case.spikes(draw)
    kept = spikes if case.psp_slope else Activations(spikes.output, None, spikes.winner)
    if fires:
        return OutgoingGradient(case.neuron, grad, kept), *case.gradients(grad, spikes, rounded=False)
    return OutgoingGradient(case.readout, grad, kept), grad, np.float32(case.psp_slope * case.t_win) * grad


def test_t2fsnns_clip() -> None:
    """Derivatives clipped apart (docs/model.md, `separate`)."""
    case = Case(SHAPE, 2, 1.0, 1.0, False, 4, FirstLayer)
    object.__setattr__(case.neuron, "clip", "separate")
    draw = np.random.default_rng(0)
    grad, spikes = draw.standard_normal(case.out_shape, np.float32), case.spikes(draw)
    grad_weights = np.full_like(case.weights, np.nan)
    case.run("weight_gradient", case.inputs, OutgoingGradient(case.neuron, grad, spikes), grad_weights)
    rule = earliness.SpikingNeuron(1.0, 1.0, "separate", case.neuron.grad_clip)
    assert spikes.weight_sum is not None
    gradients = rule.gradient(nchw(grad), nchw(spikes.output), nchw(spikes.weight_sum))
    check_weight_gradient(case, grad_weights, *(each.transpose(0, 2, 3, 1) for each in gradients))


# Every way of cutting the work, and every order of threads


def test_the_order_of_threads_does_not_matter() -> None:
    """The same bits in 20 orders, also where parts of a sum are added up by whoever comes last."""
    results = []
    for seed in range(20):
        case = Case(SHAPE, 30, 1.0, 1.0, True, 9, FirstLayer)
        case.__dict__["device"] = EmulatedGpu(of_capability((9, 0), 500), seed=1000 * seed)
        out = case.forward(fires=True)
        outgoing, *_ = _outgoing(case, fires=True)
        grad_weights = np.empty_like(case.weights)
        case.run("weight_gradient", case.inputs, outgoing, grad_weights)
        results.append(b"".join(each.tobytes() for each in (out.output, out.weight_sum, out.winner, grad_weights)))
    ranges, _ = case.algorithm._ranges(case.images)
    assert ranges > first_layer.FAN  # the tree has two levels
    assert len(set(results)) == 1


@pytest.mark.parametrize("images", [1, 2, 13, 40])
def test_every_count_of_ranges(images: int) -> None:
    """One, which has no parts; a full node of the tree and a piece of one; several levels."""
    case = Case(ConvolutionShape((4, 5), 1, 6, (3, 3)), images, 1.0, 1.0, False, 3, FirstLayer)
    case.device.gpu = of_capability((9, 0), 500)
    outgoing, to_drive, to_sum = _outgoing(case, fires=True)
    grad_weights = np.full_like(case.weights, np.nan)
    case.run("weight_gradient", case.inputs, outgoing, grad_weights)
    check_weight_gradient(case, grad_weights, to_drive, to_sum)
    assert case.algorithm._ranges(images) == (images, 1)


@given(shapes(), st.sampled_from([first_layer.FORWARD, first_layer.WEIGHT_GRADIENT]), st.integers(1, 32))
def test_tiles_cover_the_image(shape: ConvolutionShape, work: first_layer.Work, lanes: int) -> None:
    tiles = Tiles.fastest(shape, work, lanes)
    for count, size, whole in zip((tiles.down, tiles.across), (tiles.height, tiles.width), shape.out_size, strict=True):
        assert (count - 1) * 2 * size < whole <= count * 2 * size


def test_a_large_image_is_cut() -> None:
    shape = ConvolutionShape((224, 224), 3, 64, (3, 3), padding=(1, 1))
    for work in (first_layer.FORWARD, first_layer.WEIGHT_GRADIENT):
        tiles = Tiles.fastest(shape, work, 16)
        assert tiles.count > 1 and tiles.halo_bytes <= first_layer.MOST_HALO_BYTES


def test_pooling_is_joined_to_a_network() -> None:
    """To a first layer, and to one of few channels further up, whose data gradient is gemm's."""
    layers: list[object] = [3, "P", 8, "P"]
    net = models.build(layers, (1, 12, 12), 5, EmulatedGpu())
    assert list(net.algorithms.values())[:2] == ["first_layer"] * 2
    assert [stage.pool is not None for stage in stages_of(net.layers)] == [True, True, False]
    encoded, labels = net.encode(random_images(3, (1, 12, 12), 0)), np.arange(3)
    _, gradients = net.loss_and_gradients(encoded, labels)
    reference = earliness.build(read(layers, 5), net.state_dict())
    responses, _ = comparison.check_forward(reference, comparison.nchw(encoded), comparison.outputs_of(net))
    _, expected = reference.backward(comparison.nchw(encoded), responses, labels)
    for name, gradient in expected.items():
        assert comparison.relative_error(gradients[name], gradient) <= 1e-3, name  # TF32 above


# What it takes of a GPU


def test_few_bank_conflicts() -> None:
    """As vgg11's first layer: less than one wavefront more than an access to shared memory needs."""
    case = Case(ConvolutionShape((32, 32), 3, 128, (3, 3), padding=(1, 1)), 1, 1.0, 1.0, False, 2, FirstLayer)
    outgoing, *_ = _outgoing(case, fires=True)
    case.forward(fires=True)
    case.run("weight_gradient", case.inputs, outgoing, np.empty_like(case.weights))
    assert len(case.device.reports) == 2
    for variant, report in case.device.reports:
        uses = report.bank_conflicts.values()
        extra = sum(use.extra_wavefronts for use in uses) / sum(use.accesses for use in uses)
        assert extra <= 0.1, variant.kernel


@pytest.mark.parametrize("channels", [4, 24, 64, 128])
def test_a_blocks_threads_add_up_in_a_few_rounds(channels: int) -> None:
    """Not one after another: few channels are many threads for each."""
    case = Case(ConvolutionShape((4, 4), 3, channels, (3, 3), padding=(1, 1)), 1, 1.0, 1.0, False, 2, FirstLayer)
    outgoing, *_ = _outgoing(case, fires=True)
    case.run("weight_gradient", case.inputs, outgoing, np.empty_like(case.weights))
    ((_, report),) = case.device.reports
    # two of the image's one tile, three of each round and one at the end; 384 threads of 4 channels
    assert report.barriers == 2 + 3 * parts(27, first_layer.PLACES_AT_ONCE) + 1


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
def test_it_stays_in_registers(architecture: int) -> None:
    """No spills, no memory of a thread's own, for the largest patches."""
    skip_without_tools()
    for variant in _variants():
        text = source.cuda_text(variant.kernel, variant.constants)
        code, log = nvrtc.compile_text(text, f"{variant.kernel}.cu", architecture)
        (usage,) = nvrtc.read_log(log, architecture)
        assert not usage.spills and not usage.stack, variant
        assert not disassembly.disassemble(code).uses_local_memory, variant


def _variants() -> list[Variant]:
    """What a network launches, the greediest of it: of 27 values, with and without pooling, odd channels."""
    found = []
    for shape in (
        ConvolutionShape((8, 8), 3, 128, (3, 3), padding=(1, 1)),
        ConvolutionShape((8, 8), 3, 5, (3, 3), (2, 2)),
        ConvolutionShape((8, 8), 27, 5, (1, 1)),
    ):
        for pooled in (False, True):
            case = Case(shape, 1, 1.0, 1.0, pooled, 0, FirstLayer)
            object.__setattr__(case.neuron, "clip", "separate")
            for which in ("forward", "weight_gradient"):
                found += case.algorithm.kernels(which, 1, case.neuron, has_weight_sum=True, pooled=pooled)
    return found


# Where it does not fit


def test_it_says_why_it_does_not_fit() -> None:
    gpu = EmulatedGpu(of_capability((7, 5), 40))
    assert FirstLayer.fits(SHAPE, gpu) is None
    assert FirstLayer.fits(SHAPE, CpuDevice(1)) == "first_layer needs a GPU, which cpu is not"
    wide = ConvolutionShape((32, 32), 4, 8, (3, 3))
    assert FirstLayer.fits(wide, gpu) == "first_layer is for patches of up to 27 values, not 36"
    sparse = ConvolutionShape((900, 900), 1, 8, (1, 1), (300, 300))
    assert "KiB of shared memory at stride (300, 300), and emulated has 64" in str(FirstLayer.fits(sparse, gpu))


def test_a_gpu_takes_it_unasked() -> None:
    assert choice.suited(SHAPE, EmulatedGpu()) is FirstLayer
    assert choice.suited(SHAPE, EmulatedGpu(), algorithm.TF32) is FirstLayer
    assert choice.suited(SHAPE, CpuDevice(1)).name == "direct"
