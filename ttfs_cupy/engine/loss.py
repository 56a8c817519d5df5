"""Cross-entropy of the readout's potentials, and running totals that stay on the device until somebody reads them."""

from dataclasses import dataclass

import numpy as np

from ttfs_cupy.device import Array, Device, reductions


@dataclass(frozen=True)
class Totals:
    """Since the last reset: mean loss and accuracy over the images seen."""

    loss: float
    accuracy: float
    images: int


class CrossEntropy:
    """softmax cross-entropy, mean over the batch; prediction is the argmax (docs/model.md, "Readout")."""

    def __init__(self, device: Device, batch_size: int, classes: int):
        xp = device.xp
        self._device = device
        self.grad = xp.empty((batch_size, classes), np.float32)
        self._row_loss = xp.empty(batch_size, np.float32)
        self._row_correct = xp.empty(batch_size, np.int32)
        self._arrived = xp.zeros(1, np.int32)
        self._totals = xp.zeros(3, np.float64)

    def add(self, potentials: Array, labels: Array) -> Array:
        """Adds a batch to the totals; returns dLoss/d(potentials), (rows, classes), valid until the next call."""
        grad = self.grad[: len(potentials)]
        scratch = (self._row_loss, self._row_correct, self._arrived)
        reductions.cross_entropy(self._device, potentials, labels, grad, *scratch, self._totals)
        return grad

    def read(self) -> Totals:
        """The totals so far; waits for the device."""
        loss, correct, images = (float(value) for value in self._device.to_host(self._totals))
        return Totals(loss / images, correct / images, int(images)) if images else Totals(0.0, 0.0, 0)

    def reset(self) -> None:
        self._totals[...] = 0
