"""Spikes that are lost at test time: what stays, how many go, and on what that depends."""

import math
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.small_network import CLASSES, SHAPE, SPEC, build, images
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ttfs_cupy import Batches, ImageSet, Network, Noise, UserError, models, predict
from ttfs_cupy.data.corruption import _Generators
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer
from ttfs_cupy.engine.steps.noise import SpikeNoise, thinned

X = arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32))


def set_of(network: Network, count: int = 23, batch_size: int = 8) -> Batches:
    pixels = (images(count) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    labels = (np.arange(count) % CLASSES).astype(np.int32)
    return Batches(ImageSet(np.ascontiguousarray(pixels), labels, 255), batch_size, encode=network.encoder)


@given(X, st.floats(0, 1), st.integers(0, 99))
def test_a_spike_is_lost_or_as_it_was(x: np.ndarray, share: float, seed: int) -> None:
    drawn = np.random.default_rng(seed).random(x.shape, np.float32)
    left = thinned(x, drawn, share)
    for before, number, after in zip(x.tolist(), drawn.tolist(), left.tolist(), strict=True):
        assert after == (0.0 if number < np.float32(share) else before)
    assert left.dtype == np.float32
    np.testing.assert_array_equal(thinned(x, drawn, 0.0), x)
    assert not thinned(x, drawn, 1.0).any()
    # what a low share loses, a higher one loses, too
    assert not (thinned(x, drawn, min(1.0, share + 0.1)).astype(bool) & (left == 0)).any()


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_so_many_are_lost_everywhere(share: float) -> None:
    """Of the input code and of each layer, by a network whose layers are looked at before and after."""
    net = build(5)
    moves, counts = SpikeNoise(net, Noise(drop_spikes=share, seed=1)), dict[str, tuple[int, int]]()

    def tell(layer: Layer, output: Array) -> None:
        before = output.copy()
        moves.watch(layer, output)
        if layer.is_spiking:
            np.testing.assert_array_equal(output[output != 0], before[output != 0])
            counts[layer.name] = (np.count_nonzero(before), np.count_nonzero(output))
        else:
            np.testing.assert_array_equal(output, before)

    encoded = net.encode(images(400))
    left = moves.encoded(encoded)
    counts["input"] = (np.count_nonzero(encoded), np.count_nonzero(left))
    net.run(left, watch=tell)
    assert {"input", "conv1", "linear1"} == set(counts)
    for name, (before, after) in counts.items():
        lost = 1 - after / before
        assert abs(lost - share) < 5 * math.sqrt(share * (1 - share) / before), name


def test_of_an_image_the_same_spikes_are_lost_in_batches_of_any_size() -> None:
    net, noise = build(), Noise(drop_spikes=0.4, seed=2)
    encoded = net.encode(images(12))
    whole, pieces = SpikeNoise(net, noise), SpikeNoise(net, noise)
    expected = whole.encoded(encoded)
    np.testing.assert_array_equal(np.concatenate([pieces.encoded(encoded[i : i + 5]) for i in (0, 5, 10)]), expected)
    assert (SpikeNoise(net, Noise(drop_spikes=0.4, seed=3)).encoded(encoded) != expected).any()
    net = build(5)
    few, many = (predict(net, set_of(net, 200, size), noise) for size in (7, 50))
    np.testing.assert_array_equal(few.classes, many.classes)
    assert few.evaluation.firing_rates == many.evaluation.firing_rates


def test_what_stays_jitters_as_it_would_without_losses() -> None:
    net = build()
    encoded = net.encode(images(12))
    jitter, both = (SpikeNoise(net, Noise(0.1, 5, seed=2, drop_spikes=p)).encoded(encoded) for p in (0.0, 0.4))
    np.testing.assert_array_equal(both[both != 0], jitter[both != 0])
    assert 0 < np.count_nonzero(both) < np.count_nonzero(jitter)


def test_level_0_is_no_change_and_level_1_is_silence() -> None:
    net = build(5)
    assert not Noise(drop_spikes=0).is_on
    plain, none, every = (
        predict(net, set_of(net), each) for each in (Noise(), Noise(drop_spikes=0, seed=4), Noise(drop_spikes=1))
    )
    assert none.evaluation == plain.evaluation
    np.testing.assert_array_equal(none.classes, plain.classes)
    assert set(every.evaluation.firing_rates.values()) == {0}
    # silence is the same for all images
    assert len(set(every.classes)) == 1


def test_rates_are_of_what_is_left() -> None:
    """The first layer reads pixels, of which none are lost: it fires as it did, and then loses half."""
    net = build(5, encoding="direct", mean=np.full(2, 0.4, np.float32), std=np.full(2, 0.3, np.float32))
    whole, half = (predict(net, set_of(net, 200), Noise(drop_spikes=p)).evaluation.firing_rates for p in (0, 0.5))
    spikes = 200 * net.layers[0].neurons * whole["conv1"]
    assert abs(half["conv1"] / whole["conv1"] - 0.5) < 5 * math.sqrt(0.25 / spikes)


def test_losses_jitter_and_corruption_are_drawn_from_other_numbers() -> None:
    """Of the same seed, for whichever image and layer."""
    noise = SpikeNoise(build(), Noise(jitter=0.1, drop_spikes=0.1, seed=7))
    layers = [own.bit_generator.state["state"]["state"] for own in (*noise._losses.values(), *noise._jitters.values())]
    corruptions = [
        _Generators(7, place, 0)._of(index).bit_generator.state["state"]["state"]
        for place in range(5)
        for index in range(5)
    ]
    assert len({*layers, *corruptions}) == len(layers) + len(corruptions)


@pytest.mark.parametrize("rule", [{"encoding": "direct"}, {"standardize": True}])
def test_pixels_that_are_no_spikes_are_not_lost(rule: dict[str, Any]) -> None:
    net = build(**rule, mean=np.full(2, 0.4, np.float32), std=np.full(2, 0.3, np.float32))
    encoded = net.encode(images(3))
    assert SpikeNoise(net, Noise(drop_spikes=0.5)).encoded(encoded) is encoded
    assert predict(net, set_of(net), Noise(drop_spikes=0.5)).evaluation != predict(net, set_of(net)).evaluation


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True])
def test_what_is_no_probability_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"^drop_spikes must be a number from 0 to 1, not "):
        Noise(drop_spikes=value)


def test_it_says_what_it_is() -> None:
    assert str(Noise(drop_spikes=0.025, seed=3)) == "2.5 % of spikes lost (seed 3)"
    assert Noise(drop_spikes=0.1).is_drawn and not Noise(time_bits=3).is_drawn


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_on_a_gpu() -> None:
    """On one made of NumPy, of which a network's arrays are those of a CPU's."""
    noise = Noise(drop_spikes=0.2, seed=1)
    on_cpu, on_gpu = build(5), models.build(SPEC, SHAPE, CLASSES, device_of(Machine()), seed=5)
    here, there = (predict(net, set_of(net), noise) for net in (on_cpu, on_gpu))
    np.testing.assert_array_equal(here.classes, there.classes)
    assert here.evaluation.firing_rates == there.evaluation.firing_rates
