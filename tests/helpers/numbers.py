"""Networks by every algorithm, against the float64 reference."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from reference import comparison, earliness
from reference.comparison import DEVICE, host
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


def give_potentials(net: Network, seed: int, spread: float = 0.4) -> None:
    """Initial potentials on both sides of 0; usually of a few neurons so large that nothing else is needed."""
    rng = np.random.default_rng(seed)
    state = net.state_dict()
    for name in state:
        if name.endswith(".potential"):
            state[name] = rng.normal(0, spread, state[name].shape).astype(np.float32)
    net.load_state_dict(state)


def check(
    spec: Sequence[Any], input_shape: Shape, batch_size: int = 3, seed: int = 0, classes: int = CLASSES, **rule: Any
) -> list[earliness.Response]:
    """A net at Kaiming init on random images, forward and backward, against the reference."""
    images, labels = random_images(batch_size, input_shape, seed), np.arange(batch_size) % classes
    has_potentials = rule.pop("initial_potential", False)
    for net in by_every_algorithm(spec, input_shape, classes, seed=seed, initial_potential=has_potentials, **rule):
        if has_potentials:
            give_potentials(net, seed)
        responses = comparison.check(net, read(spec, classes), images, labels, **rule)
    return responses


def check_central_differences(net: Network, encoded: Any, labels: np.ndarray) -> None:
    """Of the engine against itself, no reference involved: along the gradient, and along random directions.

    The loss is read in float64 from the float32 readout: its rounding over the step, and the loss's curvature, are the
    error (7e-5 of the gradient's size is the largest here). No neuron may flip between the two sides.
    """
    step = 1e-3
    weights = net.state_dict()
    _, gradients = net.loss_and_gradients(encoded, labels)
    rng = np.random.default_rng(3)

    def loss_and_firing(name: str, moved: np.ndarray) -> tuple[float, list[np.ndarray]]:
        net.load_state_dict({**weights, name: moved.astype(np.float32)})
        output = host(net.forward(encoded)).astype(np.float64)
        firing = [np.isfinite(times) for times in net.spike_times().values()]
        logits = earliness.logits_of(output, net.silent)
        return earliness.softmax_cross_entropy(logits, labels)[0], firing

    for name, gradient in gradients.items():
        size = np.linalg.norm(gradient)
        assert size > 0
        for direction in (gradient, *rng.normal(size=(4, *gradient.shape))):
            unit = direction / np.linalg.norm(direction)
            above, firing_above = loss_and_firing(name, weights[name] + step * unit)
            below, firing_below = loss_and_firing(name, weights[name] - step * unit)
            for one, other in zip(firing_above, firing_below, strict=True):
                assert np.array_equal(one, other), "a neuron flipped: choose another seed"
            slope_along = (above - below) / (2 * step)
            assert abs(slope_along - (gradient * unit).sum()) <= 3e-4 * size, name
