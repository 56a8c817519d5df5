"""What rounded operands change in a network: predictions, which neurons fire, and one layer's sums."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.precision.rounded import Switch, Variant
from ttfs_cupy.benchmarks.precision.rounding import FLOAT32, FORMATS, WEIGHT_UNIT, earliness_unit
from ttfs_cupy.data import Batches
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, Weighted
from ttfs_cupy.engine.network import Network


@dataclass(frozen=True)
class Outcome:
    """A set evaluated in one format. changed: predictions other than in float32. flips: by layer, neurons that fired
    in one of the two only; neurons: how many there are of each, over all images."""

    images: int
    correct: int
    changed: int
    flips: dict[str, int]
    neurons: dict[str, int]

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    def flipped(self, layer: str) -> float:
        return self.flips[layer] / self.neurons[layer]


@dataclass(frozen=True)
class Trained:
    """A network and its test. own: evaluated as it was trained; float32: without rounding, to which own is compared."""

    variant: str
    seed: int
    best_epoch: int
    seconds: float
    own: Outcome
    float32: Outcome


@dataclass(frozen=True)
class Evaluated:
    """A network trained in float32 and evaluated with rounded operands."""

    seed: int
    forward: str
    outcome: Outcome


class _Pass:
    """One batch through the network: predictions, and what fired."""

    def __init__(self, network: Network, inputs: Array):
        self.fired: dict[str, np.ndarray] = {}
        self.predictions = network.run(inputs, watch=self._watch).argmax(axis=1)

    def _watch(self, layer: Layer, output: Array) -> None:
        if layer.is_spiking:
            self.fired[layer.name] = output != 0


def compare(network: Network, switch: Switch, batches: Batches, formats: Sequence[str]) -> dict[str, Outcome]:
    """The set in float32 and in each of the formats, forward; leaves the network in float32."""
    names = list(dict.fromkeys([FLOAT32, *formats]))
    spiking = [layer.name for layer in network.layers if layer.is_spiking]
    counts = {name: dict.fromkeys(("correct", "changed", *spiking), 0) for name in names}
    neurons = {layer.name: layer.neurons * len(batches.members) for layer in network.layers if layer.is_spiking}
    for batch in batches.epoch(0, network.device):
        passes = {}
        for name in names:
            switch.to(Variant(name, FLOAT32))
            passes[name] = _Pass(network, batch.inputs)
        exact = passes[FLOAT32]
        for name, found in passes.items():
            counts[name]["correct"] += int((found.predictions == batch.labels).sum())
            counts[name]["changed"] += int((found.predictions != exact.predictions).sum())
            for layer in spiking:
                counts[name][layer] += int((found.fired[layer] != exact.fired[layer]).sum())
    switch.to(Variant(FLOAT32, FLOAT32))
    return {
        name: Outcome(
            len(batches.members), of["correct"], of["changed"], {layer: of[layer] for layer in spiking}, neurons
        )
        for name, of in counts.items()
    }


@dataclass(frozen=True)
class Sums:
    """How far a layer's drive A and weight sum S are from exact sums of exact products, given the same inputs.

    drive, weight_sum: root mean square of the difference over that of the sums. flips: neurons that fire in one only,
    of `neurons`.
    """

    layer: str
    operands: str
    drive: float
    weight_sum: float
    flips: int
    neurons: int


class _LayerSums:
    """A layer's patches for a batch, and what becomes of sums over them; in float64, but for what is rounded."""

    def __init__(self, network: Network, layer: Weighted, inputs: np.ndarray):
        self._layer = layer
        self._factor = network.psp_slope
        self._t_win = network.t_win
        self._patches = patches_of(layer, inputs)
        self._weights = layer.weights.reshape(-1, layer.shape.out_channels)
        mask = (self._patches != 0).astype(np.float64)
        self._mask = mask
        self._exact = self._drive([self._patches], [self._weights], 1), mask @ self._weights.astype(np.float64)

    def float32(self) -> Sums:
        """Nothing rounded, but summed in float32 as NumPy does it."""
        drive, weight_sum = (part @ self._weights for part in (self._patches, self._mask.astype(np.float32)))
        return self._compared("float32, summed in float32", drive.astype(np.float64), weight_sum.astype(np.float64))

    def rounded(self, name: str, *, all_products: bool) -> Sums:
        """all_products: also those of two terms that are both small, which the kernels leave out."""
        numbers = FORMATS[name]
        terms = numbers.terms(self._patches, earliness_unit(self._t_win))
        weights = numbers.terms(self._weights, WEIGHT_UNIT)
        most = 2 * len(terms) - 1 if all_products else len(terms)
        weight_sum = self._mask @ sum(term.astype(np.float64) for term in weights)
        without = "" if all_products else ", without the smallest products"
        return self._compared(name + without, self._drive(terms, weights, most), weight_sum)

    @staticmethod
    def _drive(terms: Sequence[np.ndarray], weights: Sequence[np.ndarray], most: int) -> np.ndarray:
        """The products of the terms, but of the i-th and j-th only where i + j, from 0, is below `most`."""
        total = np.zeros((len(terms[0]), weights[0].shape[1]))
        for i, term in enumerate(terms):
            for j, weight in enumerate(weights):
                if i + j < most:
                    total += term.astype(np.float64) @ weight.astype(np.float64)
        return total

    def _compared(self, operands: str, drive: np.ndarray, weight_sum: np.ndarray) -> Sums:
        flips = self._fires(drive, weight_sum) != self._fires(*self._exact)
        errors = _distance(drive, self._exact[0]), _distance(weight_sum, self._exact[1])
        return Sums(self._layer.name, operands, *errors, int(flips.sum()), flips.size)

    def _fires(self, drive: np.ndarray, weight_sum: np.ndarray) -> np.ndarray:
        scaled = self._factor * weight_sum
        result: np.ndarray = (drive >= self._t_win) | ((drive + self._t_win * scaled > 0) & (1 + scaled > 0))
        return result


def sums_of_a_layer(network: Network, inputs: np.ndarray) -> list[Sums]:
    """Of the convolution whose neurons have most inputs, for a batch of the network's encoded inputs."""
    layers = network.layers
    layer = max((each for each in layers if isinstance(each, Weighted) and not each.flat), key=_inputs_of_a_neuron)
    outputs: list[Array] = [inputs]
    network.run(inputs, watch=lambda _, output: outputs.append(output.copy()))
    sums = _LayerSums(network, layer, outputs[layers.index(layer)])
    several = [name for name, numbers in FORMATS.items() if numbers.count > 1]
    found = [sums.float32()]
    for name in FORMATS:
        found.append(sums.rounded(name, all_products=True))
        if name in several:
            found.append(sums.rounded(name, all_products=False))
    return found


@dataclass(frozen=True)
class Numbers:
    """Of random numbers between 2^-8 and 1: the largest relative error, and the share that a format holds exactly."""

    operands: str
    error: float
    exact: float


def random_numbers(count: int = 1_000_000) -> list[Numbers]:
    """Rounded to each format."""
    generator = np.random.default_rng(0)
    values = np.exp2(generator.uniform(-8, 0, count)).astype(np.float32)
    found, out = [], np.empty_like(values)
    for name, numbers in FORMATS.items():
        numbers.round(values, out, WEIGHT_UNIT)
        errors = np.abs(out.astype(np.float64) - values) / values
        found.append(Numbers(name, float(errors.max()), float((errors == 0).mean())))
    return found


def _inputs_of_a_neuron(layer: Weighted) -> int:
    return layer.shape.patch_size


def patches_of(layer: Weighted, inputs: np.ndarray) -> np.ndarray:
    """(pixels, patch size), in the order of the weights."""
    shape = layer.shape
    down, across = shape.padding
    padded = np.pad(inputs, ((0, 0), (down, down), (across, across), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, shape.kernel, axis=(1, 2))
    windows = windows[:, :: shape.stride[0], :: shape.stride[1]]
    return np.ascontiguousarray(windows.transpose(0, 1, 2, 4, 5, 3)).reshape(-1, shape.patch_size)


def _distance(of: np.ndarray, to: np.ndarray) -> float:
    return float(np.linalg.norm(of - to) / np.linalg.norm(to))
