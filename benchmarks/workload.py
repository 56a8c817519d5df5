"""What the benchmarks run: networks, their weights and batches, the same for every side.

Neither the engine nor PyTorch is imported before it is asked for, so that a process that weighs one of them does not
carry the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

# A training step, or forward alone.
Work = Literal["step", "inference"]
WORKS: tuple[Work, ...] = get_args(Work)

LEARNING_RATE = 1e-4
CLASSES = 10
SILENT_PIXELS = 0.19


@dataclass(frozen=True)
class Workload:
    """A network by name, its layers (channels of a 3x3 convolution, or P for 2x2 pooling), the shape of its images."""

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


@dataclass(frozen=True)
class Task:
    """What every side does with the same batch, to be compared. precision: the engine's (network.precision)."""

    workload: Workload
    batch_size: int
    work: Work = "step"
    psp_slope: float = 1.0
    precision: str = "split"
