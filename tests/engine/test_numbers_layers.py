"""The engine's numbers on small nets: every layer kind and geometry, every rule of the model, against float64."""

from typing import Any

import numpy as np
import pytest
from helpers.numbers import CLASSES, SLOPE_AND_CLIP, Shape, by_every_algorithm, check, convolution, pool
from reference import comparison
from reference.comparison import DEVICE
from reference.specification import random_images, read

from ttfs_cupy import models

# Geometry


@pytest.mark.parametrize(
    "spec",
    [
        [7],
        [convolution(7, 1)],
        [convolution(7, 5, padding=2)],
        [convolution(7, 3, stride=2, padding=1)],
        [convolution(7, 2, stride=3)],
        [convolution(7, [1, 4], padding=[0, 2])],
        [convolution(7, [4, 2], stride=[1, 3], padding=[2, 1])],
        [convolution(7, [2, 3], stride=[4, 5], padding=[1, 0])],
        [convolution(7, [11, 13])],
        [convolution(3, 3, padding=4)],
        ["P"],
        [pool(3)],
        [pool(3, 2)],
        [pool(3, 1)],
        [pool(2, 3)],
        [pool([2, 4], [3, 1])],
        [pool([1, 5])],
        [pool([11, 13])],
        [{"linear": 17}],
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [[], [6]], ids=["on the image", "on spikes"])
def test_layer_kinds_and_geometries(spec: list[Any], before: list[Any]) -> None:
    check([*before, *spec], (2, 11, 13))


@pytest.mark.parametrize(
    ("spec", "input_shape"),
    [
        ([6, 7, "P", 8, {"linear": 9}], (3, 9, 7)),
        ([convolution(4, [1, 3], [2, 1], [0, 1]), pool([2, 1]), convolution(6, [3, 1], 1, [1, 0])], (1, 12, 5)),
        ([pool(2), pool(2), 4], (5, 8, 12)),
        ([{"linear": 30}, {"linear": 20}, {"linear": 10}], (1, 1, 40)),
        ([3, {"linear": 12}, {"linear": 6}], (2, 4, 6)),
        ([4, 1, 4], (1, 1, 1)),
    ],
    ids=str,
)
def test_deeper_networks(spec: list[Any], input_shape: Shape) -> None:
    check(spec, input_shape)


@pytest.mark.parametrize(
    ("spec", "input_shape", "batch_size"),
    [
        ([37], (3, 23, 19), 5),  # 80,845 neurons
        ([37, pool(3, 2), 41], (3, 23, 19), 5),  # overlapping windows, 36,630 and 40,590 more
        ([convolution(131, [5, 3], [2, 1], [1, 2])], (7, 31, 29), 5),  # 282,960
        ([pool([2, 3], [1, 2])], (37, 25, 47), 5),  # 102,120
        ([{"linear": 1031}, {"linear": 1033}], (3, 17, 21), 71),  # 73,201 and 73,343
        ([67, 71, "P"], (1, 41, 13), 3),
    ],
    ids=str,
)
def test_layers_that_span_many_blocks(spec: list[Any], input_shape: Shape, batch_size: int) -> None:
    check(spec, input_shape, batch_size, classes=11)


@pytest.mark.parametrize("classes", [2, 10, 257, 1001])
@pytest.mark.parametrize("batch_size", [1, 2, 33])
def test_batches_and_classes(batch_size: int, classes: int) -> None:
    check([5, "P"], (2, 6, 7), batch_size, classes=classes)


def test_a_smaller_batch_uses_the_front_of_the_same_buffers() -> None:
    spec, input_shape = [6, "P", 7], (2, 8, 9)
    net = models.build(spec, input_shape=input_shape, classes=CLASSES, device=DEVICE)
    for batch in (7, 3, 7, 1):
        labels = np.arange(batch) % CLASSES
        comparison.check(net, read(spec, CLASSES), random_images(batch, input_shape, seed=batch), labels)


@pytest.mark.parametrize("padding", [0, 1, 2, 3, [0, 3], [2, 0]], ids=str)
@pytest.mark.parametrize("size", [(3, 3), (4, 5), (5, 8), (6, 9), (7, 10)], ids=str)
def test_3x3_convolutions_of_every_remainder(size: tuple[int, int], padding: Any) -> None:
    """Algorithms that work in tiles have an edge for each remainder of the image by the tile."""
    check([convolution(4, 3, padding=padding), convolution(5, 3, padding=1)], (3, *size), 2)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("channels", [4, 20])
def test_the_dark_stays_silent(slope: float, channels: int) -> None:
    """A stroke on a black image: where no input fired nothing fires, in every layer, however convolutions round."""
    images = np.zeros((2, 1, 25, 22), np.float32)
    images[:, :, 7:16, 9:14] = random_images(2, (1, 9, 5), seed=0)
    spec = [channels, channels, channels, "P", channels]
    for net in by_every_algorithm(spec, images.shape[1:], psp_slope=slope):
        comparison.check(net, read(spec, CLASSES), images, np.arange(2), psp_slope=slope)


# The neuron's rules


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("slope", "clip"), SLOPE_AND_CLIP)
@pytest.mark.parametrize("grad_clip", [0.7, 1.0, 4.0])
def test_windows_slopes_and_clips(t_win: float, slope: float, clip: str, grad_clip: float) -> None:
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": clip, "grad_clip": grad_clip}
    check([9, "P", 10, {"linear": 12}], (3, 8, 10), **rule)


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("slope", "clip"), SLOPE_AND_CLIP)
@pytest.mark.parametrize("silent", ["latest", "excluded"])
def test_a_readout_that_fires(t_win: float, slope: float, clip: str, silent: str) -> None:
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": clip, "readout": "spike_times"}
    responses = check([9, "P", 10], (3, 8, 10), batch_size=6, silent=silent, **rule)
    assert 0 < np.count_nonzero(responses[-1].output) < responses[-1].output.size, "some classes fire, some do not"


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_direct_encoding(t_win: float, slope: float) -> None:
    """The first layer codes real-valued pixels; so z is centred, about half of it negative."""
    spec, shape = [9, "P", 10, {"linear": 8}], (3, 8, 10)
    mean, std = np.array([0.3, 0.4, 0.5], np.float32), np.array([0.2, 0.3, 0.4], np.float32)
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "encoding": "direct"}
    images = random_images(4, shape, seed=0)
    expected = (images - mean[:, None, None]) / std[:, None, None]
    for net in by_every_algorithm(spec, shape, mean=mean, std=std, **rule):
        np.testing.assert_allclose(comparison.nchw(net.encode(images)), expected, rtol=1e-5, atol=1e-6)
        comparison.check(net, read(spec, CLASSES), images, np.arange(4), **rule)


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("clip", ["gain", "separate"])
def test_standardized_latency(t_win: float, clip: str) -> None:
    """T2FSNN's published runs: input spikes before and after the window, silent only where z is 0 exactly."""
    spec, shape = [9, "P", 10], (1, 8, 10)
    mean, std = np.array([0.5], np.float32), np.array([0.25], np.float32)
    options: dict[str, Any] = {"standardize": True, "mean": mean, "std": std}
    rule: dict[str, Any] = {"t_win": t_win, "clip": clip}
    images = random_images(4, shape, seed=0)
    images[0, 0, ::2] = 0.5
    for net in by_every_algorithm(spec, shape, **options, **rule):
        encoded = comparison.nchw(net.encode(images))
        np.testing.assert_allclose(encoded, t_win * (images - 0.5) / 0.25, rtol=1e-6)
        assert not encoded[0, 0, ::2].any() and encoded.min() < 0 and encoded.max() > t_win
        comparison.check(net, read(spec, CLASSES), images, np.arange(4), **rule)


def test_psp_slope_may_change_between_calls() -> None:
    spec, shape = [6, "P", 7], (2, 8, 9)
    net = models.build(spec, input_shape=shape, classes=CLASSES, device=DEVICE)
    images = random_images(3, shape, seed=0)
    for slope in (1.0, 0.0, 0.25, 0.0, 1.0):
        net.psp_slope = slope
        comparison.check(net, read(spec, CLASSES), images, np.arange(3), psp_slope=slope)


# Pooling


def pooled_gradient(first: np.ndarray, second: np.ndarray, kernel: Any) -> np.ndarray:
    """dLoss/dw of a 1x1 convolution over two channels, below one pooling window; at slope 0, x = first + second."""
    spec = [convolution(1, 1), pool(kernel)]
    net = models.build(spec, input_shape=(2, *first.shape), classes=2, device=DEVICE, psp_slope=0)
    readout = np.array([[1], [0]], np.float32)
    net.load_state_dict({"conv1.weight": np.ones((1, 2, 1, 1), np.float32), "readout.weight": readout})
    images = np.stack([first, second])[None].astype(np.float32)
    comparison.check(net, read(spec, 2), images, np.array([0]), psp_slope=0.0)
    return net.loss_and_gradients(net.encode(images), np.array([0]))[1]["conv1.weight"].ravel()


@pytest.mark.parametrize("tied", [(0, 1), (0, 5), (1, 3), (2, 3), (4, 5), (1, 2, 4)], ids=str)
def test_a_tie_in_pooling_goes_to_the_first(tied: tuple[int, ...]) -> None:
    """The tied neurons are equally early for different reasons, so the weights' gradient tells which one got it."""
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0, 0.25, (2, 6))
    for place, position in enumerate(tied):
        first[position] = 0.125 * (place + 1)
        second[position] = 0.75 - first[position]
    gradient = pooled_gradient(first.reshape(2, 3), second.reshape(2, 3), [2, 3])
    by_earliness = 1 / (1 + np.exp(-0.75)) - 1
    np.testing.assert_allclose(gradient, by_earliness * np.array([0.125, 0.625]), rtol=1e-6)


def test_a_silent_pooling_window_passes_no_gradient() -> None:
    assert not pooled_gradient(np.zeros((2, 2)), np.zeros((2, 2)), 2).any()


def test_pooling_at_the_borders_of_its_kernel() -> None:
    """255 positions is the most; the last one wins here."""
    image = np.zeros((15, 17))
    image[14, 16] = 0.5
    gradient = pooled_gradient(image, np.zeros_like(image), [15, 17])
    assert gradient[0] != 0 and gradient[1] == 0
    with pytest.raises(ValueError, match="pool"):
        models.build([pool(16)], input_shape=(1, 16, 16), device=DEVICE)


# The public boundary


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
def test_latency_encoding(t_win: float) -> None:
    images = random_images(2, (3, 5, 4), seed=0)
    net = models.build([2], input_shape=(3, 5, 4), device=DEVICE, t_win=t_win)
    np.testing.assert_array_equal(comparison.nchw(net.encode(images)), np.float32(t_win) * images)


@pytest.mark.parametrize("readout", ["potential", "spike_times"])
@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
def test_spike_times(t_win: float, readout: str) -> None:
    """T - x, infinite for silence, of spiking layers and pooling in order."""
    spec, shape = [5, "P", {"linear": 9}], (2, 6, 7)
    net = models.build(spec, input_shape=shape, classes=CLASSES, device=DEVICE, t_win=t_win, readout=readout)
    net.forward(net.encode(random_images(4, shape, seed=0)))
    times = net.spike_times()
    spiking = ["conv1", "pool1", "linear1"] + (["readout"] if readout == "spike_times" else [])
    assert list(times) == spiking
    assert [time.shape for time in times.values()][:3] == [(4, 5, 6, 7), (4, 5, 3, 3), (4, 9)]
    for output, time in zip(comparison.outputs_of(net), times.values(), strict=False):
        np.testing.assert_array_equal(np.isinf(time), output == 0)
        fired = output != 0
        assert (time >= 0).all()
        np.testing.assert_allclose(time[fired], t_win - output[fired], rtol=0, atol=t_win * 2**-24)
