"""What the benchmarks run: one training step of the engine and one of the eager PyTorch peer, on the same work.

The model is T2FSNN's: psp_slope 1, gradients clipped one by one, Adam. Neither side is imported before it is asked for,
so that a process that weighs one of them does not carry the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

# A training step: forward, backward and update, finished when it returns.
Step = Callable[[], None]

LEARNING_RATE = 1e-4
CLASSES = 10
SILENT_PIXELS = 0.19


@dataclass(frozen=True)
class Workload:
    """A network by the engine's name for it, its layers as the peer reads them, and the size of its images."""

    name: str
    spec: tuple[int | str, ...]
    input_shape: tuple[int, int, int]

    def batch(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Random images in [0, 1], NCHW, some pixels silent, and random labels."""
        rng = np.random.default_rng(0)
        images = rng.random((size, *self.input_shape), np.float32)
        images[rng.random(images.shape, np.float32) < SILENT_PIXELS] = 0
        return images, rng.integers(0, CLASSES, size)

    def weights(self) -> dict[str, np.ndarray]:
        """Kaiming normal, named and shaped as in the engine's state_dict()."""
        rng = np.random.default_rng(1)
        channels, height, width = self.input_shape
        shapes: dict[str, tuple[int, ...]] = {}
        for entry in self.spec:
            if isinstance(entry, int):
                shapes[f"conv{len(shapes) + 1}.weight"] = (entry, channels, 3, 3)
                channels = entry
            else:
                height, width = height // 2, width // 2
        shapes["readout.weight"] = (CLASSES, channels * height * width)
        return {
            name: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
            for name, shape in shapes.items()
        }


WORKLOADS: Mapping[str, Workload] = {
    workload.name: workload
    for workload in (
        Workload("vgg7", (64, 128, "P", 256, 256, "P", 512, 512, "P"), (1, 28, 28)),
        Workload("vgg11", (128, 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, 512, "P"), (3, 32, 32)),
    )
}


def our_step(workload: Workload, batch: int) -> Step:
    """The engine's."""
    from ttfs_cupy import models
    from ttfs_cupy.optimizer import Adam

    net = models.build(workload.name, workload.input_shape, CLASSES, device="cpu", clip="separate")
    net.load_state_dict(workload.weights())
    optimizer = Adam(net.device, net.parameters, LEARNING_RATE)
    images, labels = workload.batch(batch)
    encoded = net.encode(images)
    targets = net.device.to_device(labels.astype(np.int32))
    net.plan(batch, training=True)

    def step() -> None:
        net.train_step(encoded, targets, optimizer)
        net.device.synchronize()

    return step


def peer_step(workload: Workload, batch: int) -> Step:
    """Eager PyTorch's."""
    import torch
    from eager_t2fsnn import EagerNetwork

    net = EagerNetwork(workload.spec, workload.weights())
    # the fastest of torch's Adams on a CPU
    optimizer = torch.optim.Adam(net.parameters.values(), LEARNING_RATE, fused=True)
    images, labels = workload.batch(batch)
    times, targets = net.encode(torch.from_numpy(images)), torch.from_numpy(labels)

    def step() -> None:
        net.train_step(times, targets, optimizer)

    return step


SIDES: Mapping[str, Callable[[Workload, int], Step]] = {"ttfs_cupy": our_step, "PyTorch": peer_step}
