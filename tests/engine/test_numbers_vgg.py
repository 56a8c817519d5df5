"""The engine's numbers on vgg7 and vgg11 at their real sizes, layer by layer, against float64.

At Kaiming init a deep net multiplies a flipped neuron into thousands, so that layers are compared one by one, at the
engine's own spike times (see reference/comparison.py). Only slope 0, which has no jump, is compared end to end.
Run with -s to see the figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from reference import comparison, earliness, spike_times
from reference.comparison import DEVICE, Deviation
from reference.earliness import Response
from reference.specification import VGG7, VGG11, LayerSpec, random_images, read
from torch.nn import functional

from ttfs_cupy import models

CLASSES = 10


@dataclass(frozen=True)
class Vgg:
    spec: Sequence[int | str]
    input_shape: tuple[int, int, int]
    batch_size: int

    @property
    def layers(self) -> list[LayerSpec]:
        return read(self.spec, CLASSES)

    @property
    def images(self) -> np.ndarray:
        return random_images(self.batch_size, self.input_shape, seed=1)

    @property
    def labels(self) -> np.ndarray:
        return np.arange(self.batch_size) % CLASSES


# 12 GFLOP an image and pass for vgg11, in float64: two images, in a batch of odd size for the smaller net
VGGS = {"vgg7": Vgg(VGG7, (1, 28, 28), 3), "vgg11": Vgg(VGG11, (3, 32, 32), 2)}

every_vgg = pytest.mark.parametrize("name", VGGS)


@dataclass(frozen=True)
class Step:
    """One batch through the engine, forward and backward."""

    weights: dict[str, np.ndarray]
    encoded: np.ndarray
    outputs: list[np.ndarray]
    loss: float
    gradients: dict[str, np.ndarray]


def engine_step(name: str, slope: float, clip: str, convolution: str = "auto") -> Step:
    vgg = VGGS[name]
    options: dict[str, Any] = {"classes": CLASSES, "device": DEVICE, "seed": 0, "convolution": convolution}
    net = models.build(name, input_shape=vgg.input_shape, psp_slope=slope, clip=clip, **options)
    encoded = net.encode(vgg.images)
    loss, gradients = net.loss_and_gradients(encoded, vgg.labels)
    return Step(net.state_dict(), comparison.nchw(encoded), comparison.outputs_of(net), loss, gradients)


@dataclass(frozen=True)
class Forward:
    """The engine's outputs, each with the reference's drive and weight sum for the engine's output below it."""

    outputs: list[np.ndarray]
    responses: list[Response]
    deviations: list[Deviation]


# The clip modes of a slope share their forward pass; pytest runs them one after the other.
@lru_cache(maxsize=1)
def compared_forward(name: str, slope: float) -> Forward:
    step = engine_step(name, slope, "none")
    reference = earliness.build(VGGS[name].layers, step.weights, psp_slope=slope)
    return Forward(step.outputs, *comparison.check_forward(reference, step.encoded, step.outputs))


@pytest.mark.parametrize(
    ("slope", "clip"),
    [
        *((1.0, clip) for clip in ("gain", "separate", "none")),
        *((slope, clip) for slope in (0.5, 0.0) for clip in ("gain", "none")),
    ],
)
@every_vgg
def test_layer_by_layer(name: str, slope: float, clip: str) -> None:
    vgg, forward = VGGS[name], compared_forward(name, slope)
    step = engine_step(name, slope, clip)
    for ours, shared in zip(step.outputs, forward.outputs, strict=True):
        np.testing.assert_array_equal(ours.ravel(), shared.ravel(), err_msg="the same forward pass gave other bits")

    reference = earliness.build(vgg.layers, step.weights, psp_slope=slope, clip=clip)
    loss, gradients = reference.backward(step.encoded, forward.responses, vgg.labels)
    assert step.loss == pytest.approx(loss, rel=1e-5)
    errors = comparison.check_gradients(step.gradients, gradients)
    report(f"{name}, slope {slope}, {clip}", forward.deviations, errors)


@pytest.mark.parametrize("convolution", ["gemm", "winograd"])
def test_algorithms_that_fit_all_layers(convolution: str) -> None:
    """The other tests take what `auto` chooses for each layer."""
    vgg, step = VGGS["vgg7"], engine_step("vgg7", 1.0, "gain", convolution)
    reference = earliness.build(vgg.layers, step.weights)
    responses, deviations = comparison.check_forward(reference, step.encoded, step.outputs)
    _, gradients = reference.backward(step.encoded, responses, vgg.labels)
    report(f"vgg7 by {convolution}", deviations, comparison.check_gradients(step.gradients, gradients))


def test_layer_by_layer_in_spike_times() -> None:
    """T2FSNN's formulas, clipping and all, on vgg7: nothing in common with the reference of the other tests."""
    vgg = VGGS["vgg7"]
    step = engine_step("vgg7", 1.0, "separate")
    reference = spike_times.Network(vgg.layers, step.weights, clip="separate")
    deviations = []
    times = reference.encode(vgg.images)
    output = times
    for layer, engine_output in zip(vgg.layers, step.outputs, strict=True):
        output = reference.layer_forward(layer, times)
        cache = reference.caches[layer.name]
        if layer.kind == "readout":
            error = comparison.relative_error(engine_output, output)
            assert error <= comparison.RELATIVE_TOLERANCE, f"potentials deviate by {error:.1e}"
            break
        actual = np.where(engine_output == 0, np.inf, 1 - engine_output)
        if layer.kind == "pool":
            np.testing.assert_array_equal(actual, output)
        else:
            drive = cache.weight_sum - cache.weighted_times
            as_earliness = np.where(np.isinf(output), 0, 1 - np.where(np.isinf(output), 0, output))
            rule = earliness.SpikingNeuron()
            deviations.append(
                comparison.deviation(layer.name, engine_output, as_earliness, drive, cache.weight_sum, rule)
            )
            deviations[-1].check()
        # backward runs at the engine's spike times
        cache.output = times = actual
    loss, gradients = reference.backward(step.outputs[-1], vgg.labels)
    assert step.loss == pytest.approx(loss, rel=1e-5)
    report("vgg7 in spike times", deviations, comparison.check_gradients(step.gradients, gradients))


@every_vgg
def test_slope_zero_end_to_end_is_a_relu_network(name: str) -> None:
    """torch's ReLU clipped at T, in float64 from the image to the gradients."""
    vgg, step = VGGS[name], engine_step(name, 0.0, "gain")
    weights = {key: torch.tensor(array, dtype=torch.float64, requires_grad=True) for key, array in step.weights.items()}
    x = torch.tensor(vgg.images, dtype=torch.float64)
    for layer in vgg.layers[:-1]:
        if layer.kind == "pool":
            x = functional.max_pool2d(x, 2)
        else:
            x = torch.relu(functional.conv2d(x, weights[layer.weight_name], padding=1)).clamp(max=1.0)
    potentials = functional.linear(x.flatten(1), weights["readout.weight"])
    loss = functional.cross_entropy(potentials, torch.tensor(vgg.labels))
    loss.backward()

    assert comparison.relative_error(step.outputs[-1], potentials.detach().numpy()) <= 1e-5
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = {key: weight.grad.numpy() for key, weight in weights.items() if weight.grad is not None}
    report(f"{name} beside a ReLU network", [], comparison.check_gradients(step.gradients, expected))


def report(title: str, deviations: Sequence[Deviation], errors: dict[str, float]) -> None:
    worst = max((d.time_error for d in deviations), default=0)
    flips = sum(d.flips for d in deviations)
    widest = max((d.widest_flip for d in deviations), default=0)
    print(
        f"\n{title}: spike times within {worst:.1e}, {flips} flips (widest {widest:.1e}), "
        f"gradients within {max(errors.values()):.1e}"
    )
