"""A network under each level of each disturbance: a pass over the set for each seed."""

from collections.abc import Callable
from dataclasses import dataclass

from ttfs_cupy.data import Batches
from ttfs_cupy.data.corruption import corrupted_batches
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.steps.prediction import Predictions, predict
from ttfs_cupy.robustness.kinds import KINDS, Levels


@dataclass(frozen=True)
class Pass:
    """Of a set, shares in [0, 1]. changed: of images that are predicted otherwise than without disturbance.
    firing_rate: of all spiking neurons, those that fire, after what was lost is lost."""

    seed: int
    accuracy: float
    changed: float
    firing_rate: float


@dataclass(frozen=True)
class Point:
    """A kind at a level: a pass for each seed, or one where nothing is drawn."""

    kind: str
    level: float
    passes: tuple[Pass, ...]


@dataclass(frozen=True)
class Measured:
    """clean: without disturbance. points: in the order of the kinds, and of their levels."""

    images: int
    clean: Pass
    points: tuple[Point, ...]


def passes(levels: Levels, seeds: int) -> int:
    """How many `measure` makes."""
    drawn = [KINDS[kind].at(level, 0).is_drawn for kind, of_kind in levels.items() for level in of_kind]
    return 1 + sum(seeds if one else 1 for one in drawn)


def measure(
    network: Network, test: Batches, levels: Levels, seeds: int, done: Callable[[str], None] = lambda _: None
) -> Measured:
    """The network as it is, and then under each level of each kind, with seeds 0 to `seeds` - 1 where it is drawn.

    test: a set that is not shuffled. done: is told the kind after each pass ("clean" after the first). Raises what
    `predict` raises, and UserError for levels that are none.
    """
    quiet = predict(network, test)
    clean = _pass(network, quiet, quiet, 0)
    done("clean")
    points = []
    for name, of_kind in levels.items():
        for level in of_kind:
            found = []
            for seed in range(seeds if KINDS[name].at(level, 0).is_drawn else 1):
                disturbance = KINDS[name].at(level, seed)
                batches = corrupted_batches(test, disturbance.corruptions, seed)
                found.append(_pass(network, predict(network, batches, disturbance.noise), quiet, seed))
                done(name)
            points.append(Point(name, level, tuple(found)))
    return Measured(quiet.evaluation.totals.images, clean, tuple(points))


def _pass(network: Network, found: Predictions, quiet: Predictions, seed: int) -> Pass:
    rates = found.evaluation.firing_rates
    neurons = {layer.name: layer.neurons for layer in network.layers if layer.is_spiking}
    spikes = sum(rates[name] * count for name, count in neurons.items())
    return Pass(seed, found.evaluation.totals.accuracy, found.changed(quiet), spikes / max(1, sum(neurons.values())))
