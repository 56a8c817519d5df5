"""Networks for the C export, of every kind that the templates tell apart, and images for them."""

from typing import Any

import numpy as np

from helpers import network_kinds
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.engine.network import Network

# beside those of network_kinds: shapes of layers, and pixels whose white is less than 255
SHAPES: list[dict[str, Any]] = [
    {"psp_slope": 0.0, "model": [4, {"pool": [3, 2], "stride": [2, 1]}, 6]},
    {"psp_slope": 1.0, "model": ["P", {"pool": 2, "stride": 3}]},
    {"psp_slope": 0.7, "model": [{"convolution": 6, "kernel": [5, 4], "stride": [3, 2], "padding": [2, 5]}, 4, "P"]},
    {"psp_slope": 0.0, "model": [{"convolution": 3, "kernel": 1, "padding": 2}, {"pool": 2, "stride": 3}]},
    {"psp_slope": 0.0, "model": [{"linear": 7}], "readout": "spike_times"},
]
KINDS = [*network_kinds.KINDS, *SHAPES]


def images(count: int, maximum: int = 255, seed: int = 0) -> ImageSet:
    """Half of their pixels are black; labels are drawn."""
    channels, height, width = network_kinds.SHAPE
    draws = np.random.default_rng(seed)
    pixels = draws.integers(0, maximum + 1, (count, height, width, channels), np.uint8)
    pixels *= draws.random(pixels.shape) < 0.5
    labels = draws.integers(0, network_kinds.CLASSES, count).astype(np.int32)
    return ImageSet(pixels, labels, maximum)


def batches(net: Network, of: ImageSet) -> Batches:
    return Batches(of, min(8, len(of)), encode=net.encoder)
