"""What a network's methods refuse, by name."""

from typing import Any

import numpy as np
import pytest
from helpers.small_network import SHAPE, build, images
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.network import Network


def one_pixel(value: float) -> np.ndarray:
    pixels = images(3)
    pixels[2, 1, 6, 8] = value
    return pixels


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (one_pixel(1.001), r"images must lie in \[0, 1\]"),
        (one_pixel(-0.001), r"images must lie in \[0, 1\]"),
        (one_pixel(np.nan), r"images must lie in \[0, 1\], without NaN"),
        (one_pixel(np.inf), r"images must lie in \[0, 1\]"),
        ((images(2) * 255).astype(np.uint8), "divide 8-bit pixels by 255"),
        (images(2).transpose(0, 2, 3, 1), r"images must have shape \(N, 2, 7, 9\), not \(2, 7, 9, 2\)"),
        (images(1)[0], r"images must have shape \(N, 2, 7, 9\), not \(2, 7, 9\)"),
        (images(2).astype(complex), "images must hold numbers"),
        (np.full((1, *SHAPE), "x"), "images must hold numbers"),
    ],
)
def test_images_that_are_none(pixels: np.ndarray, message: str, net: Network) -> None:
    with pytest.raises(ValueError, match=message):
        net.encode(pixels)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 4], "labels must lie in 0 to 3"),
        ([0, 1, -1], "labels must lie in 0 to 3"),
        ([0, 1], "labels must be 3 integers"),
        ([0, 1, 2, 3], "labels must be 3 integers"),
        ([[0], [1], [2]], "labels must be 3 integers"),
        ([0.0, 1.0, 2.0], "labels must be 3 integers"),
        ([True, False, True], "labels must be 3 integers"),
        ([0, 1, 2**32], "labels must lie in 0 to 3"),
    ],
)
def test_labels_that_are_none(labels: list[Any], message: str, net: Network) -> None:
    with pytest.raises(ValueError, match=message):
        net.loss_and_gradients(net.encode(images(3)), np.array(labels))


@pytest.mark.parametrize("call", ["forward", "loss_and_gradients"])
@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (np.zeros((3, *SHAPE)), "encoded must have shape"),
        (np.zeros((0, 7, 9, 2)), "at least 1"),
        (np.full((3, 7, 9, 2), np.nan), "encoded must be finite"),
        (np.full((3, 7, 9, 2), np.inf), "encoded must be finite"),
    ],
)
def test_encoded_images_that_are_none(call: str, encoded: np.ndarray, message: str, net: Network) -> None:
    arguments = (encoded,) if call == "forward" else (encoded, np.zeros(len(encoded), int))
    with pytest.raises(ValueError, match=message):
        getattr(net, call)(*arguments)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"t_win": 0}, "t_win must be a number from 1e-6 to 1e6"),
        ({"t_win": float("nan")}, "t_win must be a number from 1e-6 to 1e6"),
        ({"grad_clip": 0}, "grad_clip must be a number from 1e-6"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"clip": "norm"}, "clip must be one of gain, separate, none"),
        ({"readout": "spikes"}, "readout must be one of"),
        ({"encoding": "rate"}, "encoding must be one of latency, direct"),
        ({"clip": "separate", "psp_slope": 0.5}, "clip 'separate' is defined for psp_slope 1 only"),
    ],
)
def test_arguments_of_build(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**rule)


@pytest.mark.parametrize("shape", [(1, 8), (0, 8, 8), (1, -1, 8)])
def test_input_shapes_that_are_none(shape: Any) -> None:
    with pytest.raises(ValueError, match="input_shape must be"):
        models.build([4], input_shape=shape, device=DEVICE)


def test_one_class_is_none() -> None:
    with pytest.raises(ValueError, match="classes must be a whole number from 2"):
        models.build([4], (1, 8, 8), classes=1, device=DEVICE)


def test_unknown_devices() -> None:
    with pytest.raises(ValueError, match="device 'tpu' is not known"):
        models.build([4], (1, 8, 8), device="tpu")


@pytest.mark.parametrize("convolution", ["gemm", "winograd"])
def test_a_plan_holds_every_smaller_batch(convolution: str) -> None:
    """How work is cut depends on the batch, and fewer images may be cut into larger pieces."""
    images = np.random.default_rng(0).random((80, 3, 12, 12), np.float32)
    labels = np.arange(80) % 10
    net = models.build(
        [40, 48, "P"], (3, 12, 12), 10, "cpu", convolution="auto" if convolution == "winograd" else "gemm"
    )
    net.plan(80, training=True)
    planned = net.summary()
    for batch in (80, 79, 53, 48, 47, 33, 32, 31, 17, 16, 15, 2, 1):
        loss, _ = net.loss_and_gradients(net.encode(images[:batch]), labels[:batch])
        assert np.isfinite(loss)
    assert net.summary() == planned
