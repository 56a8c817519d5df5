"""The closed form and the simulation side by side, over a set of images, in three ways.

- given the closed form's spikes: each layer is simulated from the spikes that the closed form gives it, on the grid;
- given the simulated spikes: each layer's closed form is computed from the very spikes that its simulation got;
- end to end: spikes of the simulation alone, beside those of the closed form alone.

The first two have a bound for each neuron; a chain of layers, each of them within its bound, is what makes the third.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.simulation.bounds import Between, CourseOnHost, bounds_of, bounds_of_pooling
from ttfs_cupy.simulation.comparison import LayerComparison
from ttfs_cupy.simulation.simulator import Course, Currents, Inputs, Simulated, Simulator, Spikes, simulate_layer
from ttfs_cupy.simulation.time_grid import TimeGrid

# Of the largest layer, in one batch: each takes some hundred bytes, in the simulation and where it is compared.
MOST_NEURONS = 1 << 21

NO_LIMIT = Between(np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Readouts:
    """What a readout said of every image, (images, classes), float64: potentials, or earliness where it fires.

    closed: by the closed form. after_closed: simulated from the closed form's spikes. simulated: end to end. limit:
    between what steps may move each potential of after_closed; infinite where the readout fires.
    """

    labels: NDArray[np.int32]
    closed: NDArray[np.float64]
    after_closed: NDArray[np.float64]
    simulated: NDArray[np.float64]
    limit: Between

    @property
    def differing(self) -> NDArray[np.intp]:
        """The images that the simulation predicts otherwise, end to end."""
        return np.flatnonzero(self.closed.argmax(axis=1) != self.simulated.argmax(axis=1))

    @property
    def differing_after_closed(self) -> NDArray[np.intp]:
        """Likewise of a readout given the closed form's spikes."""
        return np.flatnonzero(self.closed.argmax(axis=1) != self.after_closed.argmax(axis=1))

    def accuracies(self) -> tuple[float, float]:
        """Of the closed form, and of the simulation end to end."""
        closed, simulated = (
            float((readout.argmax(axis=1) == self.labels).mean()) for readout in (self.closed, self.simulated)
        )
        return closed, simulated


@dataclass(frozen=True)
class SideBySide:
    """What came of it: a comparison for each layer, in their order, for each of the three ways."""

    grid: TimeGrid
    dtype: str
    given_closed: list[LayerComparison]
    given_simulated: list[LayerComparison]
    end_to_end: list[LayerComparison]
    readouts: Readouts

    @property
    def bounded(self) -> list[LayerComparison]:
        return [*self.given_closed, *self.given_simulated]

    @property
    def agrees(self) -> bool:
        return not any(layer.unexplained for layer in self.bounded)


def images_at_once(network: Network, most: int, window: int) -> int:
    """A batch that memory holds, of at most so many images. window: steps of one, each of which takes as much as a
    neuron at most."""
    largest = max(layer.neurons for layer in network.layers) + window + 1
    return min(most, max(1, MOST_NEURONS // largest))


def steps_of(network: Network, images: int, grid: TimeGrid) -> int:
    """How many steps of neurons side_by_side simulates: two windows of each, twice."""
    neurons = sum(layer.neurons for layer in network.layers if isinstance(layer, Weighted))
    return images * neurons * 2 * grid.window * 2


def side_by_side(
    network: Network, batches: Batches, grid: TimeGrid, dtype: str, done: Callable[[int], None] = lambda _: None
) -> SideBySide:
    """Every image of a set that is not shuffled, by the closed form and step by step. Other threads wait.

    done: is told of steps of neurons that are simulated, of steps_of() in all, from time to time.
    """
    passes = _Passes(network, grid, dtype, done)
    with network.turns.take(), network.device.current():
        network.plan(batches.batch_size)
        for batch in batches.epoch(0, network.device):
            passes.add(batch.inputs, network.device.to_host(batch.labels))
    return passes.result()


class _Passes:
    def __init__(self, network: Network, grid: TimeGrid, dtype: str, done: Callable[[int], None]):
        self._network, self._grid, self._dtype = network, grid, dtype
        self._simulator = Simulator(network, grid, dtype, done)
        layers = network.layers
        comparisons = [
            [LayerComparison(layer.name, layer.is_spiking or isinstance(layer, MaxPool)) for layer in layers]
            for _ in range(3)
        ]
        self._given_closed, self._given_simulated, self._end_to_end = comparisons
        self._readouts: list[tuple[NDArray[np.float64], ...]] = []
        self._labels: list[NDArray[np.int32]] = []
        self._images = 0

    def add(self, encoded: Array, labels: NDArray[np.int32]) -> None:
        closed, after_closed, limit = self._simulate_after_closed(encoded)
        simulated = self._simulate_alone(encoded, closed)
        shape = (len(labels), -1)
        last = closed[-1].astype(np.float64)
        arrays = (last, after_closed, simulated, limit.below, limit.above)
        self._readouts.append(tuple(array.reshape(shape) for array in arrays))
        self._labels.append(labels)
        self._images += len(labels)

    def result(self) -> SideBySide:
        columns = (np.concatenate(column) for column in zip(*self._readouts, strict=True))
        closed, after_closed, simulated, below, above = columns
        labels = np.concatenate(self._labels)
        readouts = Readouts(labels, closed, after_closed, simulated, Between(below, above))
        ways = (self._given_closed, self._given_simulated, self._end_to_end)
        return SideBySide(self._grid, self._dtype, *ways, readouts)

    def _simulate_after_closed(self, encoded: Array) -> tuple[list[NDArray[np.float32]], NDArray[np.float64], Between]:
        """Each layer given the closed form's spikes; all of the closed form's outputs, the readout that came of its
        last hidden layer's spikes, and how far that may be off."""
        xp, closed = self._network.device.xp, []
        comparisons = iter(self._given_closed)
        inputs: Inputs = self._simulator.encoded(encoded)
        delay = 0.0 if isinstance(inputs, Currents) else self._grid.dt
        readout, limit = np.empty(0), NO_LIMIT

        def watch(layer: Layer, output: Array) -> None:
            nonlocal inputs, delay, readout, limit
            closed.append(self._network.device.to_host(output).copy())
            done = simulate_layer(self._simulator, layer, inputs)
            readout, limit = self._compared(next(comparisons), done, closed[-1], delay)
            if done.spikes is not None:
                inputs, delay = Spikes(self._grid.steps(output, xp)), self._grid.dt

        self._network.run(encoded, watch=watch)
        return closed, readout, limit

    def _simulate_alone(self, encoded: Array, closed: list[NDArray[np.float32]]) -> NDArray[np.float64]:
        """End to end, and each layer's closed form given the simulated spikes. Returns the simulated readout."""
        xp, host = self._network.device.xp, self._network.device.to_host
        comparisons = iter(zip(self._given_simulated, self._end_to_end, closed, strict=True))
        inputs: Inputs = self._simulator.encoded(encoded)
        readout = np.empty(0)

        def watch(layer: Layer, output: Array) -> None:
            nonlocal inputs, readout
            by_layer, whole, alone = next(comparisons)
            done = simulate_layer(self._simulator, layer, inputs)
            readout, _ = self._compared(by_layer, done, host(output), 0.0)
            self._compared(whole, done, alone, None)
            if done.spikes is not None:
                inputs = done.spikes
                # what the next layer's closed form reads
                output[...] = self._grid.earliness(done.spikes.steps, xp)

        # the closed form begins with the spikes that the simulation begins with
        given = self._grid.earliness(inputs.steps, xp) if isinstance(inputs, Spikes) else encoded
        self._network.run(given, watch=watch)
        return readout

    def _compared(
        self, comparison: LayerComparison, done: Simulated, closed: NDArray[np.float32], delay: float | None
    ) -> tuple[NDArray[np.float64], Between]:
        """Adds a layer to its comparison; delay: None where nothing bounds it. Returns what the layer says as a
        readout, and how far that may be off."""
        grid, host = self._grid, self._network.device.to_host
        if done.course is None:
            assert done.spikes is not None
            steps = host(done.spikes.steps)
            bounds = None if delay is None else bounds_of_pooling(steps, grid, delay)
            comparison.add_spikes(closed, steps, grid, bounds, self._images)
            return np.empty(0), NO_LIMIT
        course = _on_host(done.course, host)
        assert isinstance(done.layer, Weighted)
        largest = grid.t_win
        if isinstance(done.inputs, Currents):
            values = self._network.device.xp.abs(done.inputs.values).max()
            largest = max(largest, done.inputs.scale * grid.t_win * float(values))
        bounds = None if delay is None else bounds_of(done.layer, course, grid, delay, largest)
        if done.spikes is not None:
            comparison.add_spikes(closed, course.steps, grid, bounds, self._images)
            anything = np.full(course.steps.shape, np.inf)
            return grid.earliness(course.steps).astype(np.float64), Between(anything, anything)
        flat = (len(closed), -1)
        limit = None if bounds is None else bounds.potential.reshaped(flat)
        comparison.add_potentials(closed.reshape(flat), course.closing.reshape(flat), limit, self._images)
        return course.closing, NO_LIMIT if limit is None else limit


def _on_host(course: Course, host: Callable[[Array], np.ndarray]) -> CourseOnHost:
    values = (course.opening, course.closing, course.weight_sum, course.weight_size)
    return CourseOnHost(host(course.steps), *(host(array).astype(np.float64) for array in values))
