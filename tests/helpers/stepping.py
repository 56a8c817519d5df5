"""A small network in training on the stand-in for a GPU: what the tests of training steps share."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Entry, Machine, device_of

from ttfs_cupy import MixedLabels, models
from ttfs_cupy.device import Device
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.optimizer import Adam, Limits, Optimizer, Sgd
from ttfs_cupy.engine.steps.training_step import TrainingStep

SHAPE, CLASSES = (2, 9, 8), 5
# every algorithm, pooling joined to a convolution and alone, and a full connection
SPEC = [5, 16, "P", {"convolution": 16}, {"convolution": 6, "kernel": 2, "stride": 2}, {"linear": 7}]
# a smaller last batch
BATCHES = (8, 8, 8, 3)
EPOCHS = 4
LIMITS = Limits(weight_decay=0.01, clip_norm=0.5, weight_clip=(-0.6, 0.6), fixed_sign=True)

OPTIMIZERS: dict[str, Callable[[Device, Any], Optimizer]] = {
    "adam": lambda device, parameters: Adam(device, parameters, 1e-3),
    "adam with limits": lambda device, parameters: Adam(device, parameters, 1e-3, limits=LIMITS),
    "sgd with momentum": lambda device, parameters: Sgd(device, parameters, 1e-2, momentum=0.9, limits=LIMITS),
}
# which streams run at once, the others as late as possible: what may happen on a GPU lies between these
ORDERS = [(), ("copies",), ("steps",), ("null", "steps", "copies")]


class Training:
    """A network, its optimiser and its steps, on the stand-in unless another device is given. decay: of an average."""

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        optimizer: str = "adam",
        capture: bool = True,
        device: Device | None = None,
        decay: float | None = None,
        accumulate: int = 1,
        class_weights: list[float] | None = None,
        **rule: Any,
    ):
        self.machine = machine or Machine()
        self.device = device or device_of(self.machine)
        self.net = models.build(SPEC, SHAPE, CLASSES, self.device, **rule)
        self.net.plan(max(BATCHES), training=True)
        self.optimizer = OPTIMIZERS[optimizer](self.device, self.net.parameters)
        self.accumulate = accumulate
        self.average = None if decay is None else WeightAverage(self.optimizer, decay)
        self.step = TrainingStep(
            *(self.net, self.optimizer, max(BATCHES)),
            accumulate=accumulate,
            average=self.average,
            capture=capture,
            class_weights=class_weights,
        )
        self.random = np.random.default_rng(0)
        self.number = 0

    def send(self, count: int = max(BATCHES), *, spoilt: bool = False) -> None:
        height, width = SHAPE[1:]
        inputs = self.random.random((count, height, width, SHAPE[0]), np.float32)
        inputs[inputs < 0.3] = 0
        if spoilt:
            inputs[0, 0, 0] = np.inf
        labels = self.random.integers(0, CLASSES, count).astype(np.int32)
        self.step.send(inputs, labels)
        # whoever sent them may use them for something else
        inputs[...], labels[...] = np.nan, 0

    def run(self, count: int = max(BATCHES), *, spoilt: bool = False) -> list[Entry]:
        """A step, and what the machine was asked for. A spoilt batch is told of, and changes nothing else."""
        first = len(self.machine.log)
        self.send(count, spoilt=spoilt)
        self.optimizer.lr = 1e-3 / (1 + self.number)
        if spoilt:
            with pytest.raises(ValueError, match=r"inputs must (lie in|be finite)"):
                self.step.run()
                self.net.loss.read()
        else:
            self.step.run()
        self.number += 1
        return self.machine.log[first:]

    def epochs(self, *, spoils: bool = True) -> "Training":
        """Several, psp_slope annealed from 0 on in the second half. spoils: one of the batches is none."""
        for epoch in range(EPOCHS):
            for batch, count in enumerate(BATCHES):
                self.net.psp_slope = max(0.0, (epoch - EPOCHS // 2) / 10 + batch / 100) if epoch >= EPOCHS // 2 else 0.0
                self.run(count, spoilt=spoils and (epoch, batch) == (1, 1))
            self.step.flush()
        return self

    def bits(self) -> dict[str, bytes]:
        # as they lie there: state_dict() would tell of a batch that a missing wait has spoilt
        values, totals = map(self.device.to_host, (self.net.parameters.values, self.net.loss._totals))
        arrays = {"weights": values, "totals": totals, **self.optimizer.state_dict()}
        if self.average is not None:
            arrays["average"] = self.average.state_dict()["values"]
        return {name: array.tobytes() for name, array in arrays.items()}

    def steps(self, count: int = max(BATCHES), *, steps: int = 4) -> list[list[Entry]]:
        return [self.run(count) for _ in range(steps)]


class MixedTraining(Training):
    """The same of batches whose images are two in one, every fourth of plain ones."""

    def send(self, count: int = max(BATCHES), *, spoilt: bool = False) -> None:
        if self.number % 4 == 1:
            super().send(count, spoilt=spoilt)
            return
        height, width = SHAPE[1:]
        inputs = self.random.random((count, height, width, SHAPE[0]), np.float32)
        labels, others = (self.random.integers(0, CLASSES, count).astype(np.int32) for _ in range(2))
        mixed = MixedLabels(labels, others, self.random.random(count, np.float32))
        if spoilt:
            inputs[0, 0, 0] = np.inf
        self.step.send(inputs, mixed)
        for array in (inputs, *mixed.arrays):
            array[...] = 0


@cache
def launched(optimizer: str, *, spoils: bool = True, kind: type[Training] = Training) -> dict[str, bytes]:
    """The bits of that optimiser's training, kernel by kernel, each stream running at once."""
    return kind(Machine(ORDERS[-1]), optimizer=optimizer, capture=False).epochs(spoils=spoils).bits()
