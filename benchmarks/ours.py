"""The engine's side: T2FSNN's model at psp_slope 1, with its gradients clipped one by one, and Adam."""

from collections.abc import Mapping

import numpy as np

from ttfs_cupy.benchmarks.measure import Running, Side, clock_between
from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, Task
from ttfs_cupy.convolution.choice import AUTO
from ttfs_cupy.device import Device
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build

# On a GPU the first step is launched kernel by kernel, the second recorded, the third replayed like all that follow.
WARM_UPS_OF_GRAPHS = 3


class Ours:
    """A network, tuned and planned as for training, with its weights, and a batch on the device.

    capture: whether a GPU's training step may be a CUDA graph.
    """

    def __init__(self, task: Task, device: Device, *, capture: bool = True):
        self.net = network_of(task, device)
        self.net.tune(task.batch_size)
        self.net.load_state_dict(task.workload.weights())
        # before the batch is drawn, which may be one that does not fit
        self.net.plan(task.batch_size, training=task.work == "step")
        self.optimizer = Adam(device, self.net.parameters, LEARNING_RATE)
        images, labels = task.workload.batch(task.batch_size)
        self.encoded = self.net.encode(images)
        self._training_step: TrainingStep | None = None
        if task.work == "step":
            self._training_step = TrainingStep(self.net, self.optimizer, task.batch_size, capture=capture)
            self._training_step.send(device.to_host(self.encoded), labels.astype(np.int32))

    def step(self) -> None:
        """Starts the task's work; on a GPU it is still running when this returns."""
        if self._training_step is not None:
            self._training_step.run()
        else:
            self.net.run(self.encoded)

    def finished_step(self) -> None:
        self.step()
        self.net.device.synchronize()


def network_of(task: Task, device: Device, convolution: str | Mapping[str, str] = AUTO) -> Network:
    """Without the task's weights. convolution: as build() takes it."""
    return build(
        list(task.workload.spec),
        task.workload.input_shape,
        CLASSES,
        device=device,
        psp_slope=task.psp_slope,
        precision=task.precision,
        convolution=convolution,
        # the engine has T2FSNN's clipping at slope 1 only
        clip="separate" if task.psp_slope == 1 else "gain",
    )


def side(name: str, device: Device) -> Side:
    warm_ups = WARM_UPS_OF_GRAPHS if device.streams else 1
    return Side(name, "", lambda task: Running(Ours(task, device).step, clock_between(device.synchronize)), warm_ups)
