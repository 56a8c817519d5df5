"""Where the time of the engine's training step goes: layer by layer, and pass by pass."""

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from ttfs_cupy.benchmarks.measure import median
from ttfs_cupy.benchmarks.ours import Ours
from ttfs_cupy.benchmarks.workload import Task
from ttfs_cupy.convolution.algorithm import PASSES, Algorithm, Pass
from ttfs_cupy.device import Device
from ttfs_cupy.engine.layers import MaxPool, Weighted
from ttfs_cupy.engine.plan import stages_of

ELSEWHERE = "elsewhere"

# Part of a step: (layers that run as one, what they do).
Key = tuple[str, str]


@dataclasses.dataclass(frozen=True)
class Part:
    """Medians over the rounds. share: of the step. gflops: GFLOP/s, as if convolved directly; None outside of these."""

    layer: str
    part: str
    algorithm: str
    milliseconds: float
    share: float
    gflops: float | None


@dataclasses.dataclass(frozen=True)
class Breakdown:
    """A step, each part of which waited for the device, so that it is longer than an undisturbed one."""

    network: str
    batch_size: int
    psp_slope: float
    step_milliseconds: float
    parts: list[Part]


def break_down(task: Task, device: Device, rounds: int) -> Breakdown:
    """The parts of a training step."""
    # waiting for each part is nothing that a graph could do
    ours = Ours(dataclasses.replace(task, work="step"), device, capture=False)
    stopwatch = Stopwatch(device)
    work = _instrument(ours, stopwatch)
    ours.finished_step()
    step_seconds, rounds_of = [], defaultdict(list)
    for _ in range(rounds):
        stopwatch.seconds.clear()
        step_seconds.append(stopwatch.time(ours.step))
        for key, seconds in stopwatch.seconds.items():
            rounds_of[key].append(seconds)
        rounds_of["", ELSEWHERE].append(max(0.0, step_seconds[-1] - sum(stopwatch.seconds.values())))
    total = median(step_seconds)
    parts = [_part(key, median(rounds_of[key]), total, *work[key], task.batch_size) for key in work if key in rounds_of]
    return Breakdown(task.workload.name, task.batch_size, task.psp_slope, 1e3 * total, parts)


class Stopwatch:
    """Seconds of the parts of a step; the device is idle as a part begins and as it ends."""

    def __init__(self, device: Device):
        self._device = device
        self.seconds: dict[Key, float] = defaultdict(float)

    def time(self, function: Callable[[], object]) -> float:
        self._device.synchronize()
        start = time.perf_counter()
        function()
        self._device.synchronize()
        return time.perf_counter() - start

    def watch(self, key: Key, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            results = []
            self.seconds[key] += self.time(lambda: results.append(function(*arguments, **options)))
            return results[0]

        return timed


class TimedAlgorithm:
    """An algorithm, one pass of which is timed; in all else the algorithm itself."""

    def __init__(self, algorithm: Algorithm, which: Pass, timed: Callable[..., Any]):
        self._algorithm = algorithm
        setattr(self, which, timed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._algorithm, name)


def _instrument(ours: Ours, stopwatch: Stopwatch) -> dict[Key, tuple[str, int]]:
    """Puts the stopwatch around every part; returns each part's algorithm and flops per image, in printing order."""
    work: dict[Key, tuple[str, int]] = {}
    for stage in stages_of(ours.net.layers):
        name = " + ".join(layer.name for layer in stage.layers)
        if isinstance(stage.layer, Weighted):
            work |= _watch_convolution(name, stage.layer, stopwatch)
        elif isinstance(stage.layer, MaxPool):
            work[name, "pooling"] = ("", 0)
            _watch_methods(stage.layer, ("forward", "backward"), (name, "pooling"), stopwatch)
    _watch_methods(ours.net.loss, ("add",), ("", "loss"), stopwatch)
    _watch_methods(ours.optimizer, ("step",), ("", "optimiser"), stopwatch)
    return {**work, ("", "loss"): ("", 0), ("", "optimiser"): ("", 0), ("", ELSEWHERE): ("", 0)}


def _watch_convolution(name: str, layer: Weighted, stopwatch: Stopwatch) -> dict[Key, tuple[str, int]]:
    products = 2 if layer.neuron.needs_weight_sum else 1
    work: dict[Key, tuple[str, int]] = {}
    timed: dict[str, Any] = {}
    for which in PASSES:
        algorithm = layer.algorithms.of(which)
        key = (name, which.replace("_", " "))
        timed[which] = TimedAlgorithm(algorithm, which, stopwatch.watch(key, getattr(algorithm, which)))
        once = 2 * layer.shape.multiplications
        work[key] = (algorithm.name, once if which == "data_gradient" else products * once)
    layer.algorithms = dataclasses.replace(layer.algorithms, **timed)
    return work


def _watch_methods(target: object, names: tuple[str, ...], key: Key, stopwatch: Stopwatch) -> None:
    for name in names:
        setattr(target, name, stopwatch.watch(key, getattr(target, name)))


def _part(key: Key, seconds: float, total: float, algorithm: str, flops: int, batch_size: int) -> Part:
    gflops = flops * batch_size / seconds / 1e9 if flops and seconds else None
    return Part(*key, algorithm, 1e3 * seconds, seconds / total, gflops)
