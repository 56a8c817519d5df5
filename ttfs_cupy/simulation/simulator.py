"""Layers in discrete time: from the spikes that arrive, step by step, to the spikes that leave.

Nothing here solves for a spike time, or multiplies inputs by weights: kernels/simulation.cu integrates each membrane.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.simulation.time_grid import TimeGrid

DTYPES = {"float32": np.float32, "float64": np.float64}
_KERNELS = {"float32": "simulate_neurons", "float64": "simulate_neurons_double"}
# Spikes that are listed at once for all output pixels: a list takes four bytes of each.
MOST_LISTED = 1 << 24
# Steps of strips of neurons in one launch, about a second of a CPU's core: Ctrl-C is answered between launches,
# and progress told. A GPU takes no longer for the more, and needs as many to be busy.
MOST_STEPPED = {"cpu": 1 << 27, "cuda": 1 << 33}
STRIP = 16


@dataclass(frozen=True)
class Spikes:
    """What a layer hands on: steps int32 (batch, height, width, channels), NO_SPIKE for silence."""

    steps: Array


@dataclass(frozen=True)
class Currents:
    """An input code without spike times: values float32 (batch, height, width, channels), each of which drives a
    constant current of `scale` times it while the first layer's input window lasts."""

    values: Array
    scale: float


Inputs = Spikes | Currents


@dataclass(frozen=True)
class Course:
    """What a layer's neurons did, arrays (batch, height, width, channels) on the device.

    steps: int32, of their spikes, or NO_SPIKE. opening, closing: the membrane potential as their window opens, and as
    it closes, had they not spiked. weight_sum, weight_size: the sums of the weights whose inputs spiked, and of their
    magnitudes. All but steps are of the simulation's dtype.
    """

    steps: Array
    opening: Array
    closing: Array
    weight_sum: Array
    weight_size: Array


@dataclass(frozen=True)
class Arrivals:
    """What arrives at each output pixel (a row), in the order of time: places in its patch and steps, (rows, patch);
    currents likewise, of an input code without spike times; counts (rows): how many."""

    places: Array
    steps: Array
    currents: Array | None
    counts: Array


class Simulator:
    """A network's layers on a time grid, one at a time. dtype: that of potentials and weights. done: is told after each
    launch how many steps of neurons it was, two windows each."""

    def __init__(
        self, network: Network, grid: TimeGrid, dtype: str = "float32", done: Callable[[int], None] = lambda _: None
    ):
        self.network = network
        self.grid = grid
        self.dtype = dtype
        self._done = done
        self._device: Device = network.device

    def encoded(self, inputs: Array) -> Inputs:
        """What a batch of encoded images is to the first layer."""
        encoder = self.network.encoder
        if encoder.is_spike_code:
            return Spikes(self.grid.steps(inputs, self._device.xp))
        # A coding layer's drive is T times its weighted input, which a current of that input yields in a window of T;
        # of standardised latencies the drive is the weighted input itself.
        return Currents(inputs, 1.0 if encoder.encoding == "direct" else 1.0 / self.grid.t_win)

    def pooled(self, layer: MaxPool, inputs: Spikes) -> Spikes:
        xp, (height, width, channels) = self._device.xp, layer.in_shape
        ends, spikes = self._in_order(inputs.steps)
        images = len(inputs.steps)
        out = xp.empty((images, *layer.out_shape), np.int32)
        sizes = (height, width, channels, *layer.out_shape[:2], *layer.kernel, *layer.stride)
        arguments = (inputs.steps, ends, spikes, out, images, self.grid.window, *sizes)
        lines = images * layer.out_shape[0]
        self._device.launch("pass_first_spikes", lines, *arguments, each=height * width * channels)
        return Spikes(out)

    def course(self, layer: Weighted, inputs: Inputs) -> Course:
        """A layer's neurons through their input's window and their own."""
        xp, dtype = self._device.xp, DTYPES[self.dtype]
        images = len(inputs.steps if isinstance(inputs, Spikes) else inputs.values)
        shape = (images, *layer.out_shape)
        steps = xp.empty(shape, np.int32)
        values = [xp.empty(shape, dtype) for _ in range(4)]
        weights = layer.weights.astype(dtype)
        initial = None if layer.potential is None else layer.potential.astype(dtype)
        slope = float(layer.neuron.psp_slope.value)
        scale = inputs.scale if isinstance(inputs, Currents) else 1.0
        patch, channels, window = layer.shape.patch_size, layer.shape.out_channels, self.grid.window
        for part in self._parts(layer, images):
            arrivals = self.arrivals(layer, _part(inputs, part))
            lists = (arrivals.places, arrivals.steps, arrivals.currents, arrivals.counts)
            out = tuple(array[part].reshape(-1, channels) for array in (steps, *values))
            for few in self._rows(len(arrivals.counts), channels):
                own = (*(None if one is None else one[few] for one in lists), weights, initial, slope, scale)
                rows = few.stop - few.start
                arguments = (*own, *(one[few] for one in out), window, rows, patch, channels)
                self._device.launch(_KERNELS[self.dtype], rows * channels, *arguments, each=window)
                self._done(2 * window * rows * channels)
        # the kernel's potentials count in steps of the threshold
        values[0] *= dtype(self.grid.dt)
        values[1] *= dtype(self.grid.dt)
        return Course(steps, *values)

    def arrivals(self, layer: Weighted, inputs: Inputs) -> Arrivals:
        """What arrives at each output pixel of these images."""
        xp, shape = self._device.xp, layer.shape
        images = len(inputs.steps if isinstance(inputs, Spikes) else inputs.values)
        rows, patch = images * shape.out_pixels, shape.patch_size
        places, steps = (xp.empty((rows, patch), np.int32) for _ in range(2))
        counts = xp.empty(rows, np.int32)
        sizes = (*shape.in_size, shape.in_channels, *shape.out_size, *shape.kernel, *shape.stride, *shape.padding)
        if isinstance(inputs, Currents):
            currents = xp.empty((rows, patch), np.float32)
            listed = (inputs.values, places, steps, currents, counts)
            self._device.launch("deliver_currents", rows, *listed, rows, *sizes, each=patch)
            return Arrivals(places, steps, currents, counts)
        ends, spikes = self._in_order(inputs.steps)
        arguments = (inputs.steps, ends, spikes, places, steps, counts, images, self.grid.window, *sizes)
        lines = images * shape.out_size[0]
        self._device.launch("deliver_spikes", lines, *arguments, each=shape.in_pixels * shape.in_channels)
        return Arrivals(places, steps, None, counts)

    def _in_order(self, steps: Array) -> tuple[Array, Array]:
        """How many spikes of each image there are up to each step, and which neurons spiked, in the order of time."""
        xp, images, window = self._device.xp, len(steps), self.grid.window
        neurons = steps[0].size
        ends, spikes = xp.empty((images, window + 1), np.int32), xp.empty((images, neurons), np.int32)
        self._device.launch("order_spikes", images, steps, ends, spikes, images, neurons, window, each=neurons + window)
        return ends, spikes

    def _parts(self, layer: Weighted, images: int) -> Iterator[slice]:
        """So many images at once that their lists fit into memory, that of how many spikes there are up to each step
        among them."""
        return _slices(images, MOST_LISTED // (layer.shape.out_pixels * layer.shape.patch_size + self.grid.window + 1))

    def _rows(self, rows: int, channels: int) -> Iterator[slice]:
        """So many output pixels at once that a launch takes no longer than it should."""
        strips = -(-channels // STRIP)
        return _slices(rows, MOST_STEPPED[self._device.target] // (2 * self.grid.window * strips))


def _slices(whole: int, at_once: int) -> Iterator[slice]:
    for first in range(0, whole, max(1, at_once)):
        yield slice(first, min(first + max(1, at_once), whole))


def _part(inputs: Inputs, part: slice) -> Inputs:
    if isinstance(inputs, Spikes):
        return Spikes(inputs.steps[part])
    return Currents(inputs.values[part], inputs.scale)


@dataclass(frozen=True)
class Simulated:
    """A layer's part in a simulation of the whole network: what it was given, and what came of it; course is None of a
    pooling, spikes of a readout that does not fire."""

    layer: Layer
    inputs: Inputs
    spikes: Spikes | None
    course: Course | None


def simulate_layer(simulator: Simulator, layer: Layer, inputs: Inputs) -> Simulated:
    """One layer, from spikes that arrive (or currents of the first one) to its own."""
    if isinstance(layer, MaxPool):
        # no network pools an input code without spikes
        assert isinstance(inputs, Spikes)
        return Simulated(layer, inputs, simulator.pooled(layer, inputs), None)
    assert isinstance(layer, Weighted)
    course = simulator.course(layer, inputs)
    return Simulated(layer, inputs, Spikes(course.steps) if layer.is_spiking else None, course)
