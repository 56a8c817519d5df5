"""A step allocates nothing: launched on a CPU, and replayed as a CUDA graph on a GPU made of NumPy (cuda_stand_in)."""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine
from helpers.stepping import OPTIMIZERS, ORDERS, Training

from ttfs_cupy import models
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep


@dataclass(frozen=True)
class Case:
    """Steps that are warm, and what they may take of the host's memory: Python's own small objects."""

    steps: Callable[[], None]
    limit: int


def launched(slope: float) -> Case:
    """Of two batch sizes, kernel by kernel, through every kind of layer, none of them small."""
    spec = [16, 20, "P", {"convolution": 64, "kernel": 2, "stride": 2}, {"pool": 2, "stride": 1}, {"linear": 600}]
    net = models.build(spec, (3, 14, 14), 10, "cpu", psp_slope=slope)
    images = np.random.default_rng(0).random((64, 3, 14, 14), np.float32)
    inputs, labels = net.encode(images), (np.arange(64) % 10).astype(np.int32)
    net.plan(64, training=True)
    step = TrainingStep(net, Adam(net.device, net.parameters), 64)

    def steps() -> None:
        for batch in (64, 64, 31, 64):
            step.send(inputs[:batch], labels[:batch])
            step.run()

    steps()
    # no array but perhaps the readout's would go unseen
    limit = 64 << 10
    assert limit < min(31 * 4 * layer.neurons for layer in net.layers[:-1])
    return Case(steps, limit)


def replayed(optimizer: str, **options: Any) -> Case:
    training = Training(Machine(ORDERS[-1]), optimizer=optimizer, **options)
    training.steps(steps=8)
    batch = np.zeros((8, 9, 8, 2), np.float32), np.zeros(8, np.int32)

    def steps() -> None:
        for _ in range(training.accumulate):
            training.machine.log.clear()
            training.step.send(*batch)
            training.step.run()

    # the stand-in's log, too
    return Case(steps, 200 << 10)


CASES: dict[str, Callable[[], Case]] = {
    "launched, slope 0": lambda: launched(0.0),
    "launched, slope 1": lambda: launched(1.0),
    **{f"replayed, {optimizer}": lambda optimizer=optimizer: replayed(optimizer) for optimizer in OPTIMIZERS},
    "replayed, with an average": lambda: replayed("adam", decay=0.9),
    "replayed, with class weights": lambda: replayed("adam", class_weights=[1.0, 2.0, 3.0, 4.0, 5.0]),
    "replayed, of several batches": lambda: replayed("adam", decay=0.9, accumulate=3),
}


def peak_bytes(body: Callable[[], object]) -> int:
    """Of the host's memory, above what was taken before; NumPy tells of its arrays."""
    tracemalloc.start()
    try:
        body()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", CASES)
def test_a_step_allocates_nothing(name: str) -> None:
    case = CASES[name]()
    assert peak_bytes(case.steps) < case.limit
    assert peak_bytes(lambda: np.empty(case.limit, np.uint8)) >= case.limit, "what was measured sees no array"
