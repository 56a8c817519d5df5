"""A small network of every kind of layer, and images for it."""

from typing import Any

import numpy as np
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.device import Device
from ttfs_cupy.engine.network import Network

SHAPE = (2, 7, 9)
CLASSES = 4
SPEC = [5, "P", {"linear": 6}]
SHAPES = {"conv1.weight": (5, 2, 3, 3), "linear1.weight": (6, 5 * 3 * 4), "readout.weight": (4, 6)}


def build(seed: int = 0, **rule: Any) -> Network:
    return models.build(SPEC, input_shape=SHAPE, classes=CLASSES, device=DEVICE, seed=seed, **rule)


def on(device: str | Device) -> Network:
    return models.build(SPEC, SHAPE, CLASSES, device)


def bits(net: Network) -> bytes:
    """Of all weights."""
    values: bytes = net.device.to_host(net.parameters.values).tobytes()
    return values


def images(count: int, seed: int = 0) -> np.ndarray:
    """With black pixels, which are silent."""
    drawn = np.random.default_rng(seed).random((count, *SHAPE), np.float32)
    return np.where(drawn < 0.2, np.float32(0), drawn)
