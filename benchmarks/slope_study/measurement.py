"""What is measured of a trained network, and how that is kept as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ttfs_cupy.data import Batches
from ttfs_cupy.energy.counting import LayerOperations, OperationCounter
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.noise import Noise
from ttfs_cupy.engine.steps.prediction import predict

JITTER = {"jitter 1 %": Noise(jitter=0.01), "jitter 2 %": Noise(jitter=0.02), "jitter 5 %": Noise(jitter=0.05)}
TIME_BITS = {f"times {bits} bits": Noise(time_bits=bits) for bits in (4, 5, 6, 8)}
WEIGHT_BITS = {f"weights {bits} bits": Noise(weight_bits=bits) for bits in (4, 6, 8)}
NOISES = {**JITTER, **TIME_BITS, **WEIGHT_BITS}


@dataclass(frozen=True)
class Operations:
    """Synaptic ones of an image, into one layer. spikes: the mean over a set; dense: if every neuron below spiked."""

    spikes: float
    dense: int


@dataclass(frozen=True)
class UnderNoise:
    """A test set predicted under noise. changed: the share of predictions other than without it."""

    accuracy: float
    changed: float


@dataclass(frozen=True)
class Measured:
    """A run, measured on the test set with the weights that validation chose. By layer: firing_rates, operations."""

    slope: str
    normalization: str
    seed: int
    best_epoch: int
    accuracy: float
    firing_rates: dict[str, float]
    operations: dict[str, Operations]
    noises: dict[str, UnderNoise]

    @property
    def spikes(self) -> float:
        """Synaptic operations of an image."""
        return sum(layer.spikes for layer in self.operations.values())

    @property
    def dense(self) -> int:
        """What they would be if every neuron spiked."""
        return sum(layer.dense for layer in self.operations.values())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Measured":
        """Raises KeyError, TypeError or AttributeError for what is none."""
        operations = {name: Operations(**of) for name, of in content["operations"].items()}
        noises = {name: UnderNoise(**content["noises"][name]) for name in NOISES}
        return cls(**{**content, "operations": operations, "noises": noises})


def measure(network: Network, test: Batches, *, slope: str, normalization: str, seed: int, best_epoch: int) -> Measured:
    """All of it: a pass over the set as it is, and one under each noise."""
    counted = OperationCounter(network)
    plain = predict(network, test, watch=counted.watch)
    noises = {}
    for name, noise in NOISES.items():
        found = predict(network, test, noise)
        noises[name] = UnderNoise(found.evaluation.totals.accuracy, found.changed(plain))
    totals, rates = plain.evaluation.totals, plain.evaluation.firing_rates
    operations = of_an_image(counted.read(totals.images), totals.images)
    return Measured(slope, normalization, seed, best_epoch, totals.accuracy, rates, operations, noises)


def of_an_image(layers: Sequence[LayerOperations], images: int) -> dict[str, Operations]:
    """By layer, of those that spikes reach: not of the first one if it reads real numbers, as of a direct code."""
    reached = (layer for layer in layers if layer.reads_spikes)
    return {layer.name: Operations(layer.synaptic_operations / images, layer.connections) for layer in reached}
