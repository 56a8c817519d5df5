"""Weight gradients that are 0 by `gemm`, since no spike meets a neuron with gradient, are 0 by Winograd's algorithm."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from emulator import why_not
from helpers.tensorcore_case import AMPERE, Case
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.convolution.direct import Direct
from ttfs_cupy.convolution.first_layer import FirstLayer
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tf32 import TensorCoreTf32
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import CpuDevice, Device, get_device
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

INNER, OUTER = 20, 24
# Of a channel's pixels that fire, and of a neuron's that pass gradient on
SHARES = (0.5, 0.1, 0.02, 0.005)


class Unrounded(Winograd):
    """As it would be otherwise: what rounding leaves stays."""

    rounding = 0.0


@dataclass(frozen=True)
class Sparse:
    """A layer whose channels spike more or less rarely, on both sides; its size, batch and slope are drawn, too."""

    seed: int
    most_images: int = 20
    most_pixels: int = 15

    @cached_property
    def device(self) -> Device:
        return get_device(DEVICE)[0]

    @cached_property
    def shape(self) -> ConvolutionShape:
        height, width = np.random.default_rng(self.seed).integers(3, self.most_pixels, 2)
        return ConvolutionShape((int(height), int(width)), INNER, OUTER, (3, 3), padding=(1, 1))

    def gradient(self, kind: type[Gemm] | type[Winograd], scale: float = 1.0) -> np.ndarray:
        """Of the weights, by that algorithm, with the neurons' gradients multiplied by `scale`."""
        device, draw = self.device, np.random.default_rng(self.seed + 1)
        images, slope = int(draw.integers(1, self.most_images)), float(draw.choice([0.0, 0.5, 1.0]))
        inputs, output = (self._spikes(draw, images, channels) for channels in (INNER, OUTER))
        grad = (draw.normal(0, 1e-2, output.shape) * scale).astype(np.float32)
        weight_sum = draw.normal(0.2, 0.4, output.shape).astype(np.float32)
        out = Activations(device.to_device(output), device.to_device(weight_sum) if slope else None)
        outgoing = OutgoingGradient(SpikingNeuron(device, 1.0, PspSlope(device, slope)), device.to_device(grad), out)
        algorithm = kind(device, self.shape)
        result = device.to_device(np.full((3, 3, INNER, OUTER), np.nan, np.float32))
        workspace = device.to_device(np.full(algorithm.workspace(images, "weight_gradient"), np.nan, np.float32))
        algorithm.weight_gradient(device.to_device(inputs), outgoing, result, workspace)
        return device.to_host(result)

    def _spikes(self, draw: np.random.Generator, images: int, channels: int) -> np.ndarray:
        size = (images, *self.shape.in_size, channels)
        fires = draw.random(size) < draw.choice(SHARES, channels)
        return np.where(fires, draw.random(size, np.float32), np.float32(0))


@pytest.mark.parametrize("seed", range(12))
def test_what_no_pair_of_spikes_makes_is_0(seed: int) -> None:
    case = Sparse(seed)
    nothing = case.gradient(Gemm) == 0
    assert np.count_nonzero(case.gradient(Unrounded)[nothing]) > 20, "there is rounding to see"
    assert not case.gradient(Winograd)[nothing].any()


@pytest.mark.parametrize("seed", range(3))
def test_of_very_many_tiles_little_is_left(seed: int) -> None:
    """Sums of many tiles nearly cancel, and then the rule misses some (docs/winograd.md)."""
    case = Sparse(seed, most_images=257, most_pixels=33)
    nothing = case.gradient(Gemm) == 0
    rounded, left = (np.count_nonzero(case.gradient(kind)[nothing]) for kind in (Unrounded, Winograd))
    assert left <= 0.1 * rounded


@pytest.mark.parametrize("seed", range(12))
def test_all_else_keeps_its_bits(seed: int) -> None:
    """But for a few that nearly cancel, which rounding makes uncertain."""
    case = Sparse(seed)
    by_gemm, by_winograd, before = (case.gradient(kind) for kind in (Gemm, Winograd, Unrounded))
    changed = (by_winograd != before) & (by_gemm != 0)
    assert np.count_nonzero(changed) <= 1e-3 * before.size
    assert not by_winograd[changed].any()
    # the largest in 400 seeds
    assert np.abs(by_gemm[changed]).max(initial=0) < 1.5e-6 * np.abs(by_gemm).max()


@pytest.mark.parametrize("scale", [2.0**-80, 2.0**-40, 2.0**40, 2.0**120])
def test_the_gradients_size_does_not_matter(scale: float) -> None:
    """What is rounding is told by what a gradient is added up from, not by a fixed bound."""
    case = Sparse(1)
    plain, scaled = case.gradient(Winograd), case.gradient(Winograd, scale)
    np.testing.assert_array_equal(scaled, plain * np.float32(scale))


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_adam_leaves_weights_alone_that_nothing_reaches(slope: float) -> None:
    """One stroke on black: weights that no pair of pixels meets stay as they were drawn, to the bit."""
    images = np.zeros((8, 1, 12, 12), np.float32)
    images[:, :, 2:5, 3:4] = np.random.default_rng(0).random((8, 1, 3, 1), np.float32)
    labels = (np.arange(8) % 10).astype(np.int32)
    moved = {}
    for by in ("gemm", "winograd"):
        convolution = dict.fromkeys(("conv2", "conv3"), f"gemm/gemm/{by}")
        net = models.build([16, 16, 16], (1, 12, 12), 10, DEVICE, psp_slope=slope, convolution=convolution)
        born = net.state_dict()
        optimizer = Adam(net.device, net.parameters, 1e-3)
        net.train_step(net.encode(images), net.device.to_device(labels), optimizer)
        moved[by] = {name: weights != born[name] for name, weights in net.state_dict().items()}
    for name in ("conv2.weight", "conv3.weight"):
        assert np.count_nonzero(~moved["gemm"][name]) > 10
        np.testing.assert_array_equal(moved["winograd"][name], moved["gemm"][name])


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("kind", [Direct, FirstLayer, TensorCore, TensorCoreTf32], ids=lambda kind: str(kind.name))
def test_the_other_algorithms_make_exact_zeros(kind: Any) -> None:
    """Products with 0 are 0, however operands are split or rounded (in the emulator)."""
    shape = ConvolutionShape((5, 6), 3 if kind in (Direct, FirstLayer) else 7, 9, (3, 3), padding=(1, 1))
    case = Case(shape, 2, 1.0, 1.0, False, 0, kind, AMPERE)
    draw = np.random.default_rng(0)
    inputs = np.where(draw.random(case.inputs.shape) < 0.1, case.inputs, np.float32(0))
    spikes = case.spikes(draw)
    rare = np.where(draw.random(case.out_shape) < 0.1, spikes.output, np.float32(0))
    grad = draw.standard_normal(case.out_shape, np.float32)
    outgoing = OutgoingGradient(case.neuron, grad, Activations(rare, spikes.weight_sum))
    by_kind, by_gemm = np.zeros_like(case.weights), np.zeros_like(case.weights)
    case.run("weight_gradient", inputs, outgoing, by_kind)
    device = CpuDevice(1)
    gemm = Gemm(device, shape)
    neuron = SpikingNeuron(device, 1.0, PspSlope(device, 1.0), grad_clip=1.5)
    same = OutgoingGradient(neuron, grad, outgoing.out)
    gemm.weight_gradient(inputs, same, by_gemm, np.empty(gemm.workspace(2, "weight_gradient"), np.float32))
    assert 0.2 < (by_gemm == 0).mean() < 0.9
    np.testing.assert_array_equal(by_kind == 0, by_gemm == 0)
