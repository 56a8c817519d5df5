"""Reads a network's specification: what both references and the tests know of a network before any arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

Pair = tuple[int, int]
Weights = Mapping[str, np.ndarray]

VGG7 = (64, 128, "P", 256, 256, "P", 512, 512, "P")
VGG11 = (128, 128, 128, "P", 256, 256, 256, "P", 512, 512, 512, 512, "P")


@dataclass(frozen=True)
class LayerSpec:
    """A layer by its name; features are a convolution's channels or a full connection's neurons."""

    name: str
    kind: Literal["convolution", "pool", "linear", "readout"]
    features: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    @property
    def weight_name(self) -> str:
        return f"{self.name}.weight"


def read(spec: Sequence[Any], classes: int) -> list[LayerSpec]:
    """The layers of a specification, named by kind and counted, and the readout that follows them."""
    counts = {"conv": 0, "pool": 0, "linear": 0}

    def name(kind: str) -> str:
        counts[kind] += 1
        return f"{kind}{counts[kind]}"

    layers = []
    for entry in spec:
        if isinstance(entry, int):
            layers.append(LayerSpec(name("conv"), "convolution", entry, (3, 3), (1, 1), (1, 1)))
        elif entry == "P":
            layers.append(LayerSpec(name("pool"), "pool", kernel=(2, 2), stride=(2, 2)))
        elif "convolution" in entry:
            kernel = pair(entry.get("kernel", 3))
            padding = pair(entry.get("padding", [size // 2 for size in kernel]))
            stride = pair(entry.get("stride", 1))
            layers.append(LayerSpec(name("conv"), "convolution", entry["convolution"], kernel, stride, padding))
        elif "pool" in entry:
            kernel = pair(entry["pool"])
            layers.append(LayerSpec(name("pool"), "pool", kernel=kernel, stride=pair(entry.get("stride", kernel))))
        else:
            layers.append(LayerSpec(name("linear"), "linear", entry["linear"]))
    return [*layers, LayerSpec("readout", "readout", classes)]


def pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else cast(Pair, tuple(value))


def weight_shapes(layers: Sequence[LayerSpec], input_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """The shape of each weight, as PyTorch would have it, for images of input_shape (C, H, W).

    Raises ValueError where a window is larger than what it slides over.
    """
    channels, *size = input_shape
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in layers:
        if layer.kind in ("linear", "readout"):
            shapes[layer.weight_name] = (layer.features, channels * int(np.prod(size)))
            channels, size = layer.features, [1, 1]
            continue
        if layer.kind == "convolution":
            shapes[layer.weight_name] = (layer.features, channels, *layer.kernel)
            channels = layer.features
        size = [
            (length + 2 * padding - kernel) // stride + 1
            for length, kernel, stride, padding in zip(size, layer.kernel, layer.stride, layer.padding, strict=True)
        ]
        if min(size) < 1:
            raise ValueError(f"{layer.name} does not fit its input")
    return shapes


def kaiming_weights(layers: Sequence[LayerSpec], input_shape: tuple[int, int, int], seed: int) -> dict[str, np.ndarray]:
    """float64 weights, normal with variance 2 / fan_in."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        for name, shape in weight_shapes(layers, input_shape).items()
    }


def random_images(batch_size: int, input_shape: tuple[int, int, int], seed: int, silent: float = 0.19) -> np.ndarray:
    """float32 images in [0, 1], NCHW, with about that share of black pixels, which latency coding leaves silent."""
    rng = np.random.default_rng(seed)
    images = rng.random((batch_size, *input_shape), np.float32)
    images[rng.random(images.shape) < silent] = 0
    return images
