"""What a class that does not spike is in the softmax, where the readout fires (docs/model.md, "Silent classes")."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.device import Array, Device

# latest: its earliness, 0, as if it spiked as the window closes. excluded: T2FSNN's softmax of -t, with t = inf.
SILENT = ("latest", "excluded")
LATEST, EXCLUDED = SILENT

# What an excluded class has for its earliness: e to it is less than half of the smallest float32, so that beside any
# class that spiked its probability is 0. That it is finite keeps the loss so where an image's own class is silent, and
# the probabilities uniform where every class is.
OF_EXCLUDED = -104.0


def logits(readouts: NDArray[Any], silent: str) -> NDArray[Any]:
    """What the softmax is of, for a readout's output, (N, classes): that itself, but for classes that are excluded."""
    if silent == LATEST:
        return readouts
    return np.where(readouts == 0, readouts.dtype.type(OF_EXCLUDED), readouts)


def exclude_silent(device: Device, earliness: Array, out: Array) -> None:
    """The same on the device for `excluded`: float32, C-contiguous, into an array of the same shape."""
    device.launch("exclude_silent", out.size, earliness, OF_EXCLUDED, out, out.size)
