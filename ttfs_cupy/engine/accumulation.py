"""The gradients of several batches as that of one (docs/model.md, "Optimisers")."""

import numpy as np

from ttfs_cupy.device import Device
from ttfs_cupy.engine.parameters import Parameters


class GradientSum:
    """Adds up parameters.gradients, batch by batch, weighted by their images. Launches only.

    Where ranks share batches, images are those of whole batches: the ranks' sums, and their means, add up to what one
    rank would have. A gradient that is not finite stays in the sum, so that the optimiser skips the whole group's step.
    """

    def __init__(self, device: Device, parameters: Parameters):
        self._device = device
        self._parameters = parameters
        with parameters.turns.take():
            self._sums = device.xp.zeros(parameters.size, np.float32)

    def add(self, images: int, *, is_first: bool) -> None:
        """Takes in the mean gradient of a batch of so many images. is_first: the group's."""
        size = self._parameters.size
        self._device.launch("add_gradients", size, self._sums, self._parameters.gradients, images, int(is_first), size)

    def to_mean(self, images: int) -> None:
        """Leaves in parameters.gradients the mean over the group, of so many images."""
        size = self._parameters.size
        self._device.launch("mean_gradients", size, self._sums, self._parameters.gradients, images, size)
