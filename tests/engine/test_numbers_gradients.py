"""Gradients against central differences, and what holds for every network."""

from typing import Any

import numpy as np
import pytest
from helpers.numbers import (
    CLASSES,
    EVERY_SLOPE,
    SLOPE_AND_CLIP,
    Shape,
    check,
    check_central_differences,
    convolution,
    pool,
)
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from reference import comparison
from reference.comparison import DEVICE
from reference.specification import random_images, read, weight_shapes

from ttfs_cupy import models


@pytest.mark.parametrize("slope", EVERY_SLOPE)
@pytest.mark.parametrize("t_win", [1.0, 3.0])
@pytest.mark.parametrize(
    ("readout", "silent"), [("potential", "latest"), ("spike_times", "latest"), ("spike_times", "excluded")]
)
def test_central_differences(slope: float, t_win: float, readout: str, silent: str) -> None:
    spec, shape = [4, "P", {"linear": 6}], (2, 6, 6)
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": "none", "readout": readout, "silent": silent}
    net = models.build(spec, input_shape=shape, classes=3, device=DEVICE, **rule)
    check_central_differences(net, net.encode(random_images(4, shape, seed=38)), np.array([0, 1, 2, 0]))


# Properties


@st.composite
def networks(draw: st.DrawFn) -> tuple[list[Any], Shape]:
    """Up to three convolutions and poolings that fit their image, then up to two full connections."""
    sizes, pairs = st.integers(1, 9), st.tuples(st.integers(1, 4), st.integers(1, 4)).map(list)
    paddings = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(list)
    channels = st.integers(1, 9)
    convolutions = st.builds(convolution, channels, pairs, pairs, paddings)
    spec = draw(st.lists(convolutions | st.builds(pool, pairs, pairs), max_size=3))
    spec += draw(st.lists(st.builds(lambda neurons: {"linear": neurons}, channels), max_size=2))
    shape = (draw(st.integers(1, 4)), draw(sizes), draw(sizes))
    try:
        weight_shapes(read(spec, CLASSES), shape)
    except ValueError:
        # does not fit its image
        reject()
    assume(spec)
    return spec, shape


few = settings(max_examples=60, deadline=None, derandomize=True)


@few
@given(
    network=networks(),
    batch_size=st.integers(1, 4),
    seed=st.integers(0, 1000),
    t_win=st.sampled_from([0.5, 1.0, 3.0]),
    slope_and_clip=st.sampled_from(SLOPE_AND_CLIP),
    readout=st.sampled_from(["potential", "spike_times"]),
)
def test_any_network_computes_what_the_reference_does(
    network: tuple[list[Any], Shape],
    batch_size: int,
    seed: int,
    t_win: float,
    slope_and_clip: tuple[float, str],
    readout: str,
) -> None:
    slope, clip = slope_and_clip
    check(*network, batch_size, seed, t_win=t_win, psp_slope=slope, clip=clip, readout=readout)


@few
@given(
    network=networks(),
    seed=st.integers(0, 1000),
    earlier=st.floats(0, 1, width=32),
    t_win=st.sampled_from([0.5, 1.0, 3.0]),
    slope_and_clip=st.sampled_from(SLOPE_AND_CLIP),
    weight_std=st.sampled_from([1e-3, 0.3, 3.0, 1e3]),
)
def test_no_input_drives_a_spike_out_of_its_window(
    network: tuple[list[Any], Shape],
    seed: int,
    earlier: float,
    t_win: float,
    slope_and_clip: tuple[float, str],
    weight_std: float,
) -> None:
    """However early the input and however large the weights: earliness in [0, T], gradients finite where clipped."""
    (spec, shape), (slope, clip) = network, slope_and_clip
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": clip, "weight_std": weight_std}
    net = models.build(spec, input_shape=shape, classes=CLASSES, device=DEVICE, seed=seed, **rule)
    images = random_images(2, shape, seed)
    images = np.where(images > 0, np.minimum(images + np.float32(earlier), 1), 0)
    loss, gradients = net.loss_and_gradients(net.encode(images), np.array([0, 1]))
    assert np.isfinite(loss) and loss >= 0
    for output in comparison.outputs_of(net)[:-1]:
        assert output.min() >= 0 and output.max() <= t_win
    for name, gradient in gradients.items():
        assert not np.isnan(gradient).any(), name
        assert clip == "none" or np.isfinite(gradient).all(), name


@few
@given(seed=st.integers(0, 1000), slope=st.sampled_from(EVERY_SLOPE), t_win=st.sampled_from([0.5, 1.0, 3.0]))
def test_earlier_excitation_never_delays_a_spike(seed: int, slope: float, t_win: float) -> None:
    """Weights from zero up, the same inputs firing, each as early or earlier: no neuron fires later."""
    shape = (3, 7, 6)
    net = models.build([8], input_shape=shape, device=DEVICE, t_win=t_win, psp_slope=slope, weight_std=0.1)
    net.load_state_dict({name: np.abs(weight) for name, weight in net.state_dict().items()})
    later = random_images(3, shape, seed)
    earlier = np.where(later > 0, np.minimum(later + random_images(3, shape, seed + 1), 1), 0)
    times = []
    for images in (later, earlier):
        net.forward(net.encode(images))
        times.append(net.spike_times()["conv1"])
    # rounding is monotonous in each operation, but the order of a product's sum is the device's own affair
    assert (times[1] <= times[0] + t_win * 1e-6).all()
    assert (times[1] < times[0]).any()
