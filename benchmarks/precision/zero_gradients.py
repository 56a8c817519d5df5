"""What rounding leaves where a weight's gradient is 0, and what Adam makes of it: Winograd's algorithm beside gemm.

    python -m ttfs_cupy.benchmarks.precision.zero_gradients --set network.psp_slope=1
    python -m ttfs_cupy.benchmarks.precision.zero_gradients --accuracy 20 --set optimizer.lr=1e-3

A gradient is 0 where no spike meets a neuron that passes gradient on. Weights are plain unless --set says otherwise: a
standardised one's gradient has a part of its neuron's mean, and is hardly ever 0.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.precision.zero_gradients")

import argparse
import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.benchmarks import kept_runs, options
from ttfs_cupy.benchmarks.precision.evaluation import patches_of
from ttfs_cupy.common.command import command_line
from ttfs_cupy.convolution.algorithm import Algorithm
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import OutgoingGradient
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import Experiment, prepare
from ttfs_cupy.experiment.run_weights import load_best
from ttfs_cupy.experiment.trainer import learning_rates


class Unrounded(Winograd):
    """Without the rule that a gradient which is only rounding is 0."""

    rounding = 0.0


SIDES: dict[str, type[Gemm] | type[Winograd]] = {"gemm": Gemm, "winograd, as rounded": Unrounded, "winograd": Winograd}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    settings = ["network.normalization=none", *parsed.set, "device=cpu", "tune=false"]

    def work() -> None:
        config = parsed.config
        found = (
            accuracies(config, settings, parsed.accuracy) if parsed.accuracy else tables(config, settings, parsed.steps)
        )
        for line in found:
            command_line.say(line)

    return command_line.run(work, process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    name = "python -m ttfs_cupy.benchmarks.precision.zero_gradients"
    parser = command_line.Parser(prog=name, description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default="quickstart", help="a YAML file, or the name of a bundled one (default: quickstart)")
    add("--steps", nargs="+", type=options.count, default=[1, 5, 20, 100], metavar="N", help="default: 1 5 20 100")
    add(
        "--accuracy",
        type=options.count,
        metavar="N",
        help="instead, trains so many seeds to the end, by each algorithm",
    )
    parser.add_overrides("any key of the config; may be repeated")
    return parser


# Gradients and weights, step by step


@dataclass(frozen=True)
class Observed:
    """Of a layer in a step: shares of its gradients, and sizes.

    unmet: of those whose spikes meet no neuron with gradient. left, median, largest: by side, the share (of all) that
    is among these and not 0, and how large it is. others: the median of gradients not 0 by gemm. lost: by side,
    the share of those that are 0.
    """

    step: int
    layer: str
    unmet: float
    others: float
    left: dict[str, float]
    median: dict[str, float]
    largest: dict[str, float]
    lost: dict[str, float]


class Watch:
    """A layer's algorithm for weight gradients; looks at what it is given, and at what the other sides make of it."""

    def __init__(self, layer: Weighted, algorithm: Algorithm, steps: Sequence[int]):
        self.layer = layer
        self.observed: list[Observed] = []
        # of each weight, whether it ever had a gradient
        self.met = np.zeros(layer.weights_shape, bool)
        self.born = layer.weights.copy()
        self._algorithm = algorithm
        self._steps = set(steps)
        self._step = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        self._algorithm.weight_gradient(images, outgoing, grad_weights, workspace)
        self._step += 1
        met = self._pairs(images, outgoing)
        self.met |= met
        if self._step in self._steps:
            self.observed.append(self._observe(images, outgoing, met))

    def moved(self) -> np.ndarray:
        """How far each weight that never had a gradient is from where it was drawn."""
        distance: np.ndarray = np.abs(self.layer.weights - self.born)[~self.met]
        return distance

    def _pairs(self, images: Array, outgoing: OutgoingGradient) -> np.ndarray:
        """Of each weight, whether a spike meets a neuron with gradient."""
        size = (outgoing.rows, self.layer.shape.out_channels)
        to_drive, to_sum = (np.zeros(size, np.float32) for _ in range(2))
        outgoing.to_drive(to_drive, to_sum if outgoing.neuron.needs_weight_sum else None)
        passes = ((to_drive != 0) | (to_sum != 0)).astype(np.float32)
        spikes = (patches_of(self.layer, images) != 0).astype(np.float32)
        # whole numbers, exact
        return (spikes.T @ passes).reshape(self.layer.weights_shape) > 0

    def _observe(self, images: Array, outgoing: OutgoingGradient, met: np.ndarray) -> Observed:
        gradients = {name: np.abs(self._gradient(kind, images, outgoing)) for name, kind in SIDES.items()}
        real = met & (gradients["gemm"] > 0)
        left = {name: gradient[~met][gradient[~met] > 0] for name, gradient in gradients.items()}
        return Observed(
            self._step,
            self.layer.name,
            float((~met).mean()),
            float(np.median(gradients["gemm"][real])) if real.any() else 0.0,
            {name: found.size / met.size for name, found in left.items()},
            {name: float(np.median(found)) if found.size else 0.0 for name, found in left.items()},
            {name: float(found.max(initial=0)) for name, found in left.items()},
            {name: float((gradient[real] == 0).mean()) if real.any() else 0.0 for name, gradient in gradients.items()},
        )

    def _gradient(self, kind: type[Algorithm], images: Array, outgoing: OutgoingGradient) -> np.ndarray:
        algorithm = kind(self.layer.device, self.layer.shape)
        result = np.empty(self.layer.weights_shape, np.float32)
        workspace = np.empty(algorithm.workspace(len(images), "weight_gradient"), np.float32)
        algorithm.weight_gradient(images, outgoing, result, workspace)
        return result


def _prepared(config: str, settings: Sequence[str], side: str, others: str) -> tuple[Experiment, list[Weighted]]:
    """With the layers whose weight gradients the side makes, all that Winograd's algorithm suits. others: the algorithm
    of their other two passes."""
    network = prepare(load_config(config, settings)).network
    names = [layer.name for layer in network.layers if isinstance(layer, Weighted) and _is_suited(layer)]
    own = "gemm" if side == "gemm" else "winograd"
    by_name = ", ".join(f"{name}: {others}/{others}/{own}" for name in names)
    experiment = prepare(load_config(config, [*settings, f"network.convolution={{{by_name}}}"]))
    layers = [layer for layer in experiment.network.layers if isinstance(layer, Weighted) and layer.name in names]
    for layer in layers:
        layer.algorithms = replace(layer.algorithms, weight_gradient=SIDES[side](layer.device, layer.shape))
    return experiment, layers


def _is_suited(layer: Weighted) -> bool:
    shape = layer.shape
    return not layer.flat and Winograd.fits(shape, layer.device) is None and Winograd.suits(shape)


def tables(config: str, settings: Sequence[str], steps: Sequence[int]) -> Iterator[str]:
    """What the sides make of the same gradients, of gemm's run; and how far weights without gradient come by each."""
    yield (
        "| step | layer | no pair | "
        + " | ".join(f"{name}: left, median, largest" for name in list(SIDES)[1:])
        + " | others' median | others set to 0 |"
    )
    yield "|" + " --- |" * (5 + len(SIDES) - 1)
    moved: list[str] = []
    for side in SIDES:
        # gemm joins no pooling: the gradients come as they are, of every neuron
        experiment, layers = _prepared(config, settings, side, others="gemm")
        watches = []
        for layer in layers:
            watch = Watch(layer, layer.algorithms.weight_gradient, steps if side == "gemm" else ())
            passes: dict[str, Any] = {"weight_gradient": watch}
            layer.algorithms = replace(layer.algorithms, **passes)
            watches.append(watch)
        for step in _run(experiment, max(steps)):
            if step in steps:
                moved += [_moved(watch, side, step, experiment.config.optimizer.lr) for watch in watches]
                if side == "gemm":
                    for watch in watches:
                        yield _row(watch.observed[-1])
    yield from (
        "",
        "| weights that never had a gradient, by | step | layer | number | moved, in lr: median | largest |",
    )
    yield "|" + " --- |" * 6
    yield from sorted(moved, key=lambda line: line.split("|")[2:4])


def _run(experiment: Experiment, steps: int) -> Iterator[int]:
    """Trains for so many steps; after each, its number."""
    network, optimizer, training = experiment.network, experiment.optimizer(), experiment.training
    step = TrainingStep(network, optimizer, training.batch_size)
    rates, taken, epoch = learning_rates(experiment.config, len(training)), 0, 0
    while True:
        for _ in step.each(training, epoch, 0):
            optimizer.lr = rates.at(taken)
            step.run()
            taken += 1
            yield taken
            if taken == steps:
                return
        epoch += 1


def _row(of: Observed) -> str:
    left = []
    for name in list(SIDES)[1:]:
        sizes = f", {of.median[name]:.1e}, {of.largest[name]:.1e}" if of.left[name] else ""
        left.append(f"{of.left[name]:.2%}{sizes}")
    lost = f"{of.lost['winograd']:.3%}"
    return f"| {of.step} | {of.layer} | {of.unmet:.1%} | {' | '.join(left)} | {of.others:.1e} | {lost} |"


def _moved(watch: Watch, side: str, step: int, lr: float) -> str:
    moved = watch.moved() / lr
    sizes = f"{np.median(moved):.1e} | {moved.max():.1e}" if moved.size else "- | -"
    return f"| {side} | {step:6} | {watch.layer.name} | {moved.size} | {sizes} |"


# Accuracy


def accuracies(config: str, settings: Sequence[str], seeds: int) -> Iterator[str]:
    """Test accuracy of each side, seed by seed, then the means, and of the differences from gemm, seed by seed."""
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    yield "| seed | " + " | ".join(SIDES) + " |"
    yield "|" + " --- |" * (1 + len(SIDES))
    for seed in range(seeds):
        for side in SIDES:
            experiment, _ = _prepared(config, [*settings, f"seed={seed}"], side, others="winograd")
            found[side].append(_accuracy(experiment))
        yield f"| {seed} | " + " | ".join(f"{values[-1]:.2%}" for values in found.values()) + " |"
    yield "| mean | " + " | ".join(f"{np.mean(values):.2%}" for values in found.values()) + " |"
    if seeds > 1:
        for side in list(SIDES)[1:]:
            differences = 100 * (np.array(found[side]) - found["gemm"])
            error = differences.std(ddof=1) / np.sqrt(seeds)
            yield f"{side} - gemm: {differences.mean():+.2f} points, standard error {error:.2f}"


def _accuracy(experiment: Experiment) -> float:
    """On the test set, of the best weights of a training to the end, which leaves no files."""
    level = logging.getLogger("ttfs_cupy").level
    logging.getLogger("ttfs_cupy").setLevel(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = kept_runs.directory(Path(folder) / "run", experiment, "")
            kept_runs.train(experiment, run)
            load_best(experiment.network, run.best)
            run.release()
    finally:
        logging.getLogger("ttfs_cupy").setLevel(level)
    return Evaluator(experiment.network, experiment.test.batch_size).over(experiment.test, "test").totals.accuracy
