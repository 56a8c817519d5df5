"""Operations beside loops over every connection of every spike."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.comparison import DEVICE

from ttfs_cupy import Batches, ImageSet, Network, build
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.energy.counting import INPUT, LayerOperations, Operations, count_operations, fan_out
from ttfs_cupy.engine.layers import MaxPool, Weighted

COUNT = 6
SPEC = [4, "P", {"convolution": 3, "kernel": [3, 2], "stride": 2, "padding": 1}, {"linear": 6}]
SPECS: dict[str, list[Any]] = {
    "odd": SPEC,
    "windows that overlap": [
        {"convolution": 3, "kernel": [1, 3], "padding": [0, 2]},
        {"pool": [3, 2], "stride": [2, 1]},
        2,
    ],
    "pixels that are pooled": ["P", 5],
    "pixels without a connection": [{"convolution": 2, "kernel": 1, "stride": 3, "padding": 0}],
}


def loop(shape: ConvolutionShape, spikes: np.ndarray) -> int:
    """Connections that spikes, bool (N, height, width, channels), reach: one by one."""
    reached = 0
    for row, column in np.ndindex(*shape.out_size):
        for down, right in np.ndindex(*shape.kernel):
            y = row * shape.stride[0] + down - shape.padding[0]
            x = column * shape.stride[1] + right - shape.padding[1]
            if 0 <= y < shape.in_size[0] and 0 <= x < shape.in_size[1]:
                for spike in spikes[:, y, x].ravel():
                    reached += shape.out_channels if spike else 0
    return reached


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@settings(deadline=None)
@given(pairs(4, 7), pairs(1, 4), pairs(1, 3), pairs(0, 3), st.integers(1, 3))
def test_fan_out_is_that_of_a_loop(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], channels: int
) -> None:
    shape = ConvolutionShape(size, 1, channels, kernel, stride, padding)
    each = fan_out(shape)
    for place in np.ndindex(*size):
        spike = np.zeros((1, *size, 1), bool)
        spike[0][place] = True
        assert each[place] == loop(shape, spike)


def image_set() -> ImageSet:
    """With black pixels, which are silent."""
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 7, 9, 2)).astype(np.uint8)
    images[images < 100] = 0
    return ImageSet(images, np.zeros(COUNT, np.int32), 255)


def counted(net: Network, batch_size: int = 4) -> Operations:
    return count_operations(net, Batches(image_set(), batch_size, encode=net.encoder))


def masks(net: Network) -> dict[str, np.ndarray]:
    """Which neurons fired, bool (N, height, width, channels), by the public face: the image's, and each layer's."""
    pixels = image_set().images.transpose(0, 3, 1, 2) / 255
    encoded = net.encode(pixels)
    net.forward(encoded)
    found = {INPUT: net.device.to_host(encoded) != 0}
    for name, times in net.spike_times().items():
        fired = np.isfinite(times)
        found[name] = fired.transpose(0, 2, 3, 1) if fired.ndim == 4 else fired[:, None, None]
    return found


@pytest.mark.parametrize("readout", ["potential", "spike_times"])
@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("name", SPECS)
def test_operations_are_those_of_a_loop_over_spikes(name: str, slope: float, readout: str) -> None:
    """Of pooled neurons, the spikes that the layer above sees; a full connection reads every one."""
    net = build(SPECS[name], (2, 7, 9), 5, DEVICE, seed=1, readout=readout, psp_slope=slope)
    found = counted(net)
    fired = masks(net)
    assert (found.images, found.psp_slope) == (COUNT, slope)
    assert [layer.name for layer in found.layers] == [INPUT, *(layer.name for layer in net.layers)]
    below = fired[INPUT]
    assert found.layers[0] == LayerOperations(INPUT, 7 * 9 * 2, int(below.sum()))
    for layer, of in zip(net.layers, found.layers[1:], strict=True):
        assert of.neurons == layer.neurons
        assert of.spikes == (int(fired[layer.name].sum()) if layer.name in fired else None)
        if isinstance(layer, MaxPool):
            assert of == LayerOperations(layer.name, layer.neurons, of.spikes)
        else:
            assert isinstance(layer, Weighted)
            assert of.synaptic_operations == loop(layer.shape, below) > 0
            assert of.connections == loop(layer.shape, np.ones((1, *below.shape[1:]), bool))
            assert of.input_spikes == int(below.sum())
            assert (of.multiply_adds, of.has_weight_sum) == (0, slope > 0)
        below = fired.get(layer.name, below)
    reached = [loop(layer.shape, np.ones((1, *layer.in_shape))) for layer in net.layers if isinstance(layer, Weighted)]
    assert found.ann_multiply_adds == sum(reached)
    assert found.synaptic_operations == sum(layer.synaptic_operations for layer in found.layers) / COUNT


@pytest.mark.parametrize("code", [{"encoding": "direct"}, {"standardize": True}])
def test_pixels_that_are_no_spikes_are_multiplied_each(code: dict[str, Any]) -> None:
    statistics = {"mean": np.array([0.3, 0.2]), "std": np.array([0.4, 0.5])}
    net = build(SPEC, (2, 7, 9), 5, DEVICE, seed=1, **code, **statistics)
    pixels, first, pool, second, *_ = counted(net).layers
    assert pixels.spikes is None
    assert first.multiply_adds == COUNT * first.connections > 0
    assert (first.synaptic_operations, first.input_spikes, first.has_weight_sum) == (0, 0, False)
    assert first.spikes is not None and pool.spikes is not None and 0 < pool.spikes < first.spikes
    assert second.synaptic_operations == loop(net.layers[2].shape, masks(net)["pool1"])  # type: ignore[attr-defined]


def test_batches_do_not_matter() -> None:
    net = build(SPEC, (2, 7, 9), 5, DEVICE, seed=1)
    assert counted(net, 1) == counted(net, 4) == counted(net, COUNT)


def test_what_is_no_set_in_order_is_refused() -> None:
    net = build(SPEC, (2, 7, 9), 5, DEVICE)
    with pytest.raises(TypeError, match="batches must be of type Batches"):
        count_operations(net, image_set())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="without shuffle"):
        count_operations(net, Batches(image_set(), 4, encode=net.encoder, shuffle=True))
