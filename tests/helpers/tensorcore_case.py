"""A layer's three passes by cooperative kernels in the emulator, and what float64 makes of the same numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from emulator.device import EmulatedGpu
from hypothesis import strategies as st
from reference import comparison, earliness

from ttfs_cupy.convolution.shape import Activations, ConvolutionShape
from ttfs_cupy.convolution.tensorcore.split import WEIGHT_UNIT, TensorCore
from ttfs_cupy.device.gpu_limits import of_capability
from ttfs_cupy.neuron import PotentialReadout, PspSlope, SpikingNeuron

Array = np.ndarray

# Whose forward multiplies by warps, and by warpgroups.
# Output, weight sum, gradients of the inputs and of the weights, by their place among a kernel's arguments
RESULTS_OF_KERNELS = [
    ("tensorcore_forward", 9, "forward"),
    ("tensorcore_forward", 10, "forward"),
    ("tensorcore_data_gradient", 9, "data_gradient"),
    ("tensorcore_weight_gradient", 9, "weight_gradient"),
]

AMPERE, HOPPER = (8, 0), (9, 0)


@dataclass(frozen=True)
class Case:
    """shape is a layer's; seed draws its numbers and the order in which the emulator runs threads and blocks."""

    shape: ConvolutionShape
    images: int
    psp_slope: float
    t_win: float
    pooled: bool
    seed: int
    kind: Any = TensorCore
    capability: tuple[int, int] = HOPPER
    charged: bool = False

    @cached_property
    def device(self) -> EmulatedGpu:
        return EmulatedGpu(of_capability(self.capability, multiprocessors=2), seed=self.seed)

    @cached_property
    def algorithm(self) -> Any:
        assert self.kind.fits(self.shape, self.device) is None
        return self.kind(self.device, self.shape)

    @cached_property
    def neuron(self) -> SpikingNeuron:
        slope = PspSlope(self.device, self.psp_slope)
        return SpikingNeuron(self.device, self.t_win, slope, grad_clip=1.5, potential=self.potential)

    @cached_property
    def readout(self) -> PotentialReadout:
        return PotentialReadout(self.device, self.t_win, PspSlope(self.device, self.psp_slope), self.potential)

    @cached_property
    def potential(self) -> Array | None:
        """Initial potentials, where neurons have any."""
        if not self.charged:
            return None
        return np.random.default_rng(self.seed + 2).normal(0, 0.4, self.shape.out_channels).astype(np.float32)

    @cached_property
    def inputs(self) -> Array:
        """Earliness, a third of it silence."""
        draw = np.random.default_rng(self.seed)
        x = self.t_win * draw.random((self.images, *self.shape.in_size, self.shape.in_channels), np.float32)
        return np.where(draw.random(x.shape) < 1 / 3, np.float32(0), x)

    @cached_property
    def weights(self) -> Array:
        """Large enough for potentials on both sides of 0 and of the threshold."""
        draw = np.random.default_rng(self.seed + 1)
        spread = np.float32(1.5 / np.sqrt(self.shape.patch_size))
        size = (*self.shape.kernel, self.shape.in_channels, self.shape.out_channels)
        return spread * draw.standard_normal(size, np.float32)

    @property
    def out_shape(self) -> tuple[int, int, int, int]:
        height, width = self.shape.out_size
        if self.pooled:
            height, width = height // 2, width // 2
        return self.images, height, width, self.shape.out_channels

    def spikes(self, draw: np.random.Generator) -> Activations:
        """What a forward pass might have left: silent neurons, some that fired at once, and windows' winners."""
        x = self.t_win * draw.random(self.out_shape, np.float32)
        kind = draw.random(self.out_shape)
        x = np.where(kind < 0.3, np.float32(0), np.where(kind > 0.9, np.float32(self.t_win), x))
        weight_sum = draw.normal(0.2, 0.4, self.out_shape).astype(np.float32)
        winner = np.where(x > 0, draw.integers(0, 4, self.out_shape), 255).astype(np.uint8) if self.pooled else None
        return Activations(x, np.maximum(weight_sum, np.float32(-0.7)), winner)

    def run(self, which: str, *arguments: object) -> None:
        """A pass; its workspace is full of NaN before."""
        workspace = np.full(self.algorithm.workspace(self.images, which), np.nan, np.float32)
        getattr(self.algorithm, which)(*arguments, workspace)

    def forward(self, *, fires: bool) -> Activations:
        blank = [np.full(self.out_shape, np.nan, np.float32) for _ in range(2)]
        winner = np.full(self.out_shape, 99, np.uint8) if self.pooled else None
        out = Activations(blank[0], blank[1] if self.psp_slope else None, winner)
        self.run("forward", self.inputs, self.weights, self.neuron if fires else self.readout, out)
        return out

    # What it should be

    def linear(self, weights: Array) -> earliness.Convolution:
        return earliness.Convolution(
            weights.astype(np.float64).transpose(3, 2, 0, 1), self.shape.stride, self.shape.padding
        )

    def convolved(self, inputs: Array, weights: Array) -> Array:
        """In float64, NHWC."""
        result: Array = self.linear(weights)(nchw(inputs)).transpose(0, 2, 3, 1)
        return result

    def split_sums(self) -> tuple[Array, Array]:
        """S and A of operands that are each the sum of two halves, the product of the two small ones left out."""
        x = split(self.inputs, 256 / self.t_win)
        w = split(self.weights, WEIGHT_UNIT)
        drive = self.convolved(x[0] + x[1], w[0]) + self.convolved(x[0], w[1])
        return self.convolved((self.inputs != 0).astype(np.float64), w[0] + w[1]), drive + self.charge

    def gradients(self, grad: Array, spikes: Activations, *, rounded: bool = True) -> tuple[Array, Array]:
        """dLoss/dA and dLoss/dS of all neurons, in float32 as the kernels compute them; rounded to TF32, or as is."""
        x, s, end = spikes.output, spikes.weight_sum, np.float32(self.t_win)
        assert s is not None
        slope, one = np.float32(self.psp_slope), np.float32(1)
        inside = (x > 0) & (x < end)
        gain = np.minimum(one / np.where(inside, one + slope * s, one), np.float32(self.neuron.grad_clip))
        to_drive, to_sum = grad * gain, grad * (slope * (end - x) * gain)
        to_drive, to_sum = (np.where(inside, each, np.float32(0)) for each in (to_drive, to_sum))
        if rounded:
            to_drive, to_sum = rounded_to_tf32(to_drive), rounded_to_tf32(to_sum)
        return self._unpooled(to_drive, spikes), self._unpooled(to_sum, spikes)

    def _unpooled(self, of_windows: Array, spikes: Activations) -> Array:
        """What is of windows goes to their winners."""
        if spikes.winner is None:
            return of_windows
        images, height, width, channels = of_windows.shape
        result = np.zeros((images, *self.shape.out_size, channels))
        for place in range(4):
            target = result[:, place // 2 : 2 * height : 2, place % 2 : 2 * width : 2]
            target[...] = np.where(spikes.winner == place, of_windows, 0)
        return result

    def summed_data_gradient(self, to_drive: Array) -> Array:
        """Of operands in TF32: truncated after every 8 terms, in the kernel's order of chunks, taps and channels."""
        shape, weights = self.shape, rounded_at_once(self.weights)
        height, width = shape.in_size
        (down, right), (top, left) = shape.stride, shape.padding
        total = np.zeros(self.inputs.shape)
        # each tap's gradients, where they reach the inputs; the kernel slides over them with its taps turned
        reached = []
        for y, x in reversed(list(np.ndindex(*shape.kernel))):
            whole = np.zeros((self.images, height + 2 * top, width + 2 * left, shape.out_channels))
            rows, columns = shape.out_size
            whole[:, y : y + down * rows : down, x : x + right * columns : right] = to_drive
            reached.append((whole[:, top : top + height, left : left + width], weights[y, x]))
        for chunk in range(0, shape.out_channels, 16):
            for gradients, of_tap in reached:
                for step in (0, 2):
                    channels = [c for c in range(chunk, min(chunk + 16, shape.out_channels)) if c % 4 // 2 * 2 == step]
                    total = truncated(total + gradients[..., channels] @ of_tap[:, channels].T)
        return total

    def squares(self) -> tuple[Array, Array]:
        """Of the terms of S and A, summed."""
        mask, x, w = (
            (self.inputs != 0).astype(np.float64),
            self.inputs.astype(np.float64),
            self.weights.astype(np.float64),
        )
        return self.convolved(mask, w**2), self.convolved(x**2, w**2)

    def summed_weight_gradient(self, to_drive: Array, to_sum: Array, range_pixels: int) -> Array:
        """Of operands in TF32: truncated after every 8 terms, range by range, and the ranges in their order."""
        shape = self.shape
        patches = self.linear(self.weights)._patches(nchw(rounded_at_once(self.inputs)))
        x = patches.transpose(0, 2, 3, 4, 5, 1).reshape(-1, shape.patch_size)
        drive, sums = (each.reshape(-1, shape.out_channels) for each in (to_drive, to_sum))
        total = np.zeros((shape.patch_size, shape.out_channels), np.float32)
        for start in range(0, len(x), range_pixels):
            part = np.zeros(total.shape)
            last = min(start + range_pixels, len(x))
            # of 8 pixels every second one, and then the others: two terms of each; or, without S, one of all
            step = 2 if self.psp_slope else 1
            for first in (of_8 + i for of_8 in range(start, last, 8) for i in range(step)):
                pixels = slice(first, min(first + 8, last), step)
                mask = (x[pixels] != 0).astype(np.float64)
                part = truncated(part + x[pixels].T @ drive[pixels] + mask.T @ sums[pixels])
            total += part.astype(np.float32)
        result: Array = total.reshape(self.weights.shape).astype(np.float64)
        return result

    def sums(self) -> tuple[Array, Array]:
        """S and A."""
        mask = (self.inputs != 0).astype(np.float64)
        return self.convolved(mask, self.weights), self.convolved(self.inputs, self.weights) + self.charge

    @property
    def charge(self) -> Array:
        """What initial potentials add to A."""
        return self.t_win * (np.zeros(1) if self.potential is None else self.potential.astype(np.float64))


def nchw(array: Array) -> Array:
    result: Array = array.astype(np.float64).transpose(0, 3, 1, 2)
    return result


def split(values: Array, unit: float) -> tuple[Array, Array]:
    """Two halves, float64, whose sum is nearly the values; they are halves of the values times unit, a power of two."""
    scaled = values.astype(np.float64) * unit
    first = scaled.astype(np.float16).astype(np.float64)
    second = (scaled - first).astype(np.float16).astype(np.float64)
    return first / unit, second / unit


def rounded_to_tf32(values: Array) -> Array:
    """To 11 significant bits, ties away from 0; float64. What is not finite stays as it is."""
    single = np.ascontiguousarray(values, np.float32)
    rounded = ((single.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    result: Array = np.where(np.isfinite(single), rounded, single).astype(np.float64)
    return result


def rounded_at_once(values: Array) -> Array:
    """As operands.h says: 2^-11.5 of the value more, and all but 11 significant bits cut off; float64."""
    more = np.ascontiguousarray(values, np.float32) * np.float32(1 + 2**-11.5)
    result: Array = (more.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    return result


def error(actual: Array, expected: Array, squares: Array | None = None) -> float:
    """In the norm, relative to the result's.

    squares: the sums of the terms' squares. Their root is the size that a sum of such terms has on the average; where
    a result has few elements, it may be much smaller by chance.
    """
    assert np.isfinite(actual).all()
    size = float(np.linalg.norm(expected))
    if squares is not None:
        size = max(size, float(np.sqrt(np.abs(squares).sum())))
    distance = float(np.linalg.norm(actual - expected))
    return distance / size if size else distance


def truncated(values: Array) -> Array:
    """To float32, towards 0, as tensor cores do after each product of fragments; float64."""
    nearest = values.astype(np.float32)
    beyond = np.abs(nearest.astype(np.float64)) > np.abs(values)
    toward_zero: Array = np.where(beyond, np.nextafter(nearest, np.float32(0)), nearest).astype(np.float64)
    return toward_zero


def check_spikes(case: Case, allowed: float) -> None:
    """A neuron may flip only where rounding decides; of a window, the winner may be another only if it is as early.

    allowed: the error of the weight sums.
    """
    out = case.forward(fires=True)
    weight_sum, drive = case.sums()
    rule = earliness.SpikingNeuron(case.t_win, case.psp_slope)
    expected = rule.output(drive, weight_sum)
    actual, sums = out.output, out.weight_sum
    if case.pooled:
        assert out.winner is not None
        assert set(np.unique(out.winner)) <= {0, 1, 2, 3, 255}
        np.testing.assert_array_equal(out.winner == 255, actual == 0)
        places = np.where(out.winner == 255, 0, out.winner)
        fired = out.winner != 255
        best = _windows(expected).max(axis=-1)
        drive, weight_sum, own = (_of_winner(_windows(each), places) for each in (drive, weight_sum, expected))
        condition = np.clip(1 + case.psp_slope * weight_sum, 0, 1)
        assert ((best - own) * condition)[fired].max(initial=0) <= comparison.TIME_TOLERANCE
        # of a silent window any neuron will do
        expected = np.where(fired, own, best)
        sums = None if sums is None else np.where(fired, sums, weight_sum)
    comparison.deviation("", actual, expected, drive, weight_sum, rule).check()
    if sums is not None:
        assert error(sums, weight_sum, case.squares()[0] if not case.pooled else None) <= allowed


def _windows(array: Array) -> Array:
    """(N, height, width, C) -> (N, height // 2, width // 2, C, places)."""
    images, height, width, channels = array.shape
    whole = array[:, : height // 2 * 2, : width // 2 * 2].reshape(images, height // 2, 2, width // 2, 2, channels)
    return whole.transpose(0, 1, 3, 5, 2, 4).reshape(images, height // 2, width // 2, channels, 4)


def _of_winner(windows: Array, places: Array) -> Array:
    return np.take_along_axis(windows, places[..., None].astype(int), axis=-1)[..., 0]


@st.composite
def shapes(draw: st.DrawFn) -> ConvolutionShape:
    """Any kernel, stride and padding; channels that are no multiple of a fragment or 4."""
    few = st.integers(1, 3)
    kernel = draw(st.tuples(few, few) | st.just((3, 3)))
    padding = draw(st.tuples(st.integers(0, kernel[0] - 1), st.integers(0, kernel[1] - 1)) | st.just((0, 0)))
    size = tuple(draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True))
    channels = st.integers(1, 40) | st.sampled_from([16, 32, 36, 64, 68])
    return ConvolutionShape(
        (size[0], size[1]), draw(channels), draw(channels), kernel, draw(st.tuples(few, few) | st.just((1, 1))), padding
    )


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    pooled: bool = True,
    kind: Any = TensorCore,
    of_shapes: st.SearchStrategy[ConvolutionShape] | None = None,
    capability: tuple[int, int] = HOPPER,
) -> Case:
    """One to three images."""
    shape = draw(shapes() if of_shapes is None else of_shapes)
    return Case(
        shape,
        images=draw(st.integers(1, 3)),
        psp_slope=draw(st.sampled_from([1.0, 0.5, 0.0])),
        t_win=draw(st.sampled_from([1.0, 2.0])),
        pooled=pooled and min(shape.out_size) >= 2 and draw(st.booleans()),
        seed=draw(st.integers(0, 1 << 16)),
        kind=kind,
        capability=capability,
        charged=draw(st.integers(0, 3)) == 3,
    )
