"""Networks by every algorithm, against the float64 reference."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from reference import comparison, earliness
from reference.comparison import DEVICE
from reference.specification import random_images, read

from ttfs_cupy import models
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.engine.network import Network

Shape = tuple[int, int, int]

CLASSES = 5
EVERY_SLOPE = (0.0, 0.5, 1.0)
SLOPE_AND_CLIP = [
    *((1.0, clip) for clip in ("gain", "separate", "none")),
    *((slope, clip) for slope in (0.0, 0.5) for clip in ("gain", "none")),
]


def convolution(channels: int, kernel: Any, stride: Any = 1, padding: Any = 0) -> dict[str, Any]:
    return {"convolution": channels, "kernel": kernel, "stride": stride, "padding": padding}


def pool(kernel: Any, stride: Any = None) -> dict[str, Any]:
    return {"pool": kernel} if stride is None else {"pool": kernel, "stride": stride}


def by_every_algorithm(
    spec: Sequence[Any], input_shape: Shape, classes: int = CLASSES, **options: Any
) -> Iterator[Network]:
    """The same net by every convolution algorithm that fits all its layers; gemm always does."""
    convolves = any(layer.kind == "convolution" for layer in read(spec, classes))
    options.update(input_shape=input_shape, classes=classes, device=DEVICE)
    for algorithm in ("auto", *algorithms()) if convolves else ("auto",):
        try:
            net = models.build(list(spec), convolution=algorithm, **options)
        except ValueError:
            assert algorithm not in ("auto", "gemm")
            continue
        yield net


def check(
    spec: Sequence[Any], input_shape: Shape, batch_size: int = 3, seed: int = 0, classes: int = CLASSES, **rule: Any
) -> list[earliness.Response]:
    """A net at Kaiming init on random images, forward and backward, against the reference."""
    images, labels = random_images(batch_size, input_shape, seed), np.arange(batch_size) % classes
    for net in by_every_algorithm(spec, input_shape, classes, seed=seed, **rule):
        responses = comparison.check(net, read(spec, classes), images, labels, **rule)
    return responses
