"""Noise at test time: spikes that jitter or come in steps, rounded weights; beside NumPy references and promises."""

from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.small_network import CLASSES, SHAPE, SPEC, build, images
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ttfs_cupy import Batches, ImageSet, Network, Noise, UserError, models, predict
from ttfs_cupy.convolution.shape import Activations
from ttfs_cupy.device import Array
from ttfs_cupy.engine.layers import Layer, MaxPool, Weighted
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.noise import LAST_INSTANT, SpikeNoise, in_steps, jittered, rounded_weights, weights_rounded

WINDOWS = st.sampled_from([1.0, 0.3, 7.0])
BITS = st.integers(1, 12)
SHARES = arrays(np.float32, st.integers(1, 40), elements=st.floats(0, 1, width=32))
WEIGHTS = arrays(np.float32, array_shapes(min_dims=2, max_dims=4, max_side=4), elements=st.floats(-2, 2, width=16))


def set_of(network: Network, count: int = 23, batch_size: int = 8) -> Batches:
    pixels = (images(count) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    labels = (np.arange(count) % CLASSES).astype(np.int32)
    return Batches(ImageSet(np.ascontiguousarray(pixels), labels, 255), batch_size, encode=network.encoder)


# Spike times


@given(SHARES, WINDOWS, st.floats(0, 1), st.integers(0, 99))
def test_jitter_is_added_and_clipped_to_the_window(shares: np.ndarray, t_win: float, sigma: float, seed: int) -> None:
    x = shares * np.float32(t_win)
    drawn = np.random.default_rng(seed).standard_normal(x.shape, np.float32)
    moved = jittered(x, drawn.copy(), sigma * t_win, t_win)
    for before, normal, after in zip(x.tolist(), drawn.tolist(), moved.tolist(), strict=True):
        expected = min(max(before + sigma * t_win * normal, t_win * LAST_INSTANT), t_win) if before else 0.0
        assert after == pytest.approx(expected, rel=1e-5, abs=1e-6 * t_win)
    np.testing.assert_array_equal(moved == 0, x == 0)
    assert moved.dtype == np.float32 and moved.max() <= np.float32(t_win)


@given(SHARES, WINDOWS, BITS)
def test_steps_of_the_window(shares: np.ndarray, t_win: float, bits: int) -> None:
    x = shares * np.float32(t_win)
    stepped = in_steps(x, bits, t_win)
    steps = stepped / np.float64(t_win) * 2**bits
    np.testing.assert_allclose(steps, np.rint(steps), rtol=1e-6)
    # the nearest one, but that the latest spikes keep from falling silent
    step = t_win / 2**bits
    assert (np.abs(stepped - x) <= np.where(x < step / 2, step, step / 2) * (1 + 1e-5)).all()
    np.testing.assert_array_equal(stepped == 0, x == 0)
    assert stepped.dtype == np.float32 and stepped.max() <= np.float32(t_win)
    np.testing.assert_array_equal(in_steps(stepped, bits, t_win), stepped)
    # an earlier spike stays no later than a later one
    order = np.argsort(x)
    assert (np.diff(stepped[order]) >= 0).all()


def test_steps_by_hand() -> None:
    x = np.array([0, 1e-9, 0.1, 0.3, 0.4, 0.7, 0.9, 1], np.float32)
    assert in_steps(x, 2, 1.0).tolist() == [0, 0.25, 0.25, 0.25, 0.5, 0.75, 1, 1]
    assert in_steps(2 * x, 1, 2.0).tolist() == [0, 1, 1, 1, 1, 1, 2, 2]


# Weights


@given(WEIGHTS, st.integers(2, 12))
def test_weights_lie_on_the_levels_of_their_channel(weights: np.ndarray, bits: int) -> None:
    rounded, levels = rounded_weights(weights, bits), 2 ** (bits - 1) - 1
    largest = np.abs(weights.astype(np.float64)).max(axis=tuple(range(weights.ndim - 1)))
    scale = np.where(largest > 0, largest, 1)
    np.testing.assert_allclose(
        rounded, np.rint(weights / scale * levels) / levels * scale, rtol=1e-5, atol=largest.max() / levels * 1e-2
    )
    assert (np.abs(rounded - weights) <= scale / levels / 2 * (1 + 1e-4)).all()
    np.testing.assert_array_equal(np.abs(rounded).reshape(-1, weights.shape[-1]).max(axis=0), largest)
    np.testing.assert_array_equal(rounded_weights(-weights, bits), -rounded)
    np.testing.assert_array_equal(rounded_weights(rounded, bits), rounded)


def test_the_network_has_its_own_weights_again() -> None:
    net = build()
    before = net.state_dict()
    with pytest.raises(KeyError), weights_rounded(net, Noise(weight_bits=3)):
        for name, weights in net.state_dict().items():
            for channel, own in zip(weights, before[name], strict=True):
                assert len(np.unique(np.abs(channel))) <= 4
                assert np.abs(channel).max() == np.abs(own).max()
        raise KeyError
    for name, weights in net.state_dict().items():
        np.testing.assert_array_equal(weights, before[name])


# In a network


@pytest.mark.parametrize("rule", [{}, {"readout": "spike_times"}, {"convolution": "winograd", "t_win": 1.5}])
@pytest.mark.parametrize("noise", [Noise(jitter=0.05), Noise(time_bits=3), Noise(jitter=0.02, time_bits=4)])
def test_each_layer_reads_what_the_one_below_fired_with_noise(noise: Noise, rule: dict[str, Any]) -> None:
    """Also where the engine pools as neurons fire: noise is on the neurons, and then the earliest spike wins."""
    net = build(psp_slope=0.5, **rule)
    encoded, moves = net.encode(images(6)), SpikeNoise(net, noise)
    seen: dict[str, np.ndarray] = {}

    def tell(layer: Layer, output: Array) -> None:
        moves.watch(layer, output)
        seen[layer.name] = output.copy()

    net.run(moves.encoded(encoded), watch=tell)
    again = SpikeNoise(net, noise)
    x = again.encoded(encoded)
    assert (x != encoded).any()
    for layer in net.layers:
        x = alone(layer, x)
        if layer.is_spiking:
            fired = x.copy()
            again.watch(layer, x)
            assert (fired != x).any()
        np.testing.assert_allclose(seen[layer.name], x, rtol=1e-5, atol=1e-6)
        x = seen[layer.name]


def alone(layer: Layer, inputs: np.ndarray) -> np.ndarray:
    shape = (len(inputs), *layer.out_shape)
    workspace = layer.algorithms.forward.workspace(len(inputs), "forward") if isinstance(layer, Weighted) else 0
    winner = np.empty(shape, np.uint8) if isinstance(layer, MaxPool) else None
    out = Activations(np.empty(shape, np.float32), None, winner)
    layer.forward(inputs, out, np.empty(workspace, np.float32))
    return out.output


def test_without_noise_it_is_the_evaluators_measurement() -> None:
    net = build(5)
    batches = set_of(net)
    found = predict(net, batches)
    assert found.evaluation == Evaluator(net, 8).over(batches, "test")
    np.testing.assert_array_equal(found.classes, net.forward(net.encode(images_of(batches))).argmax(axis=1))
    assert (found.classes == batches.images.labels).mean() == pytest.approx(found.evaluation.totals.accuracy)
    assert found.changed(found) == 0


def images_of(batches: Batches) -> np.ndarray:
    return (batches.images.images.astype(np.float32) / np.float32(255)).transpose(0, 3, 1, 2)


def test_a_seed_draws_the_same_with_batches_of_any_size() -> None:
    net = build(5)  # which predicts several classes
    noise = Noise(jitter=0.1, seed=3)
    few, many, other = (
        predict(net, set_of(net, 200, size), each) for size, each in [(7, noise), (50, noise), (50, Noise(0.1))]
    )
    np.testing.assert_array_equal(few.classes, many.classes)
    assert few.evaluation.totals.loss == pytest.approx(many.evaluation.totals.loss, rel=1e-6)
    assert other.evaluation.totals.loss != pytest.approx(many.evaluation.totals.loss, rel=1e-6)
    assert few.changed(predict(net, set_of(net, 200))) > 0


def test_what_is_watched_is_what_the_next_layer_reads() -> None:
    net = build()
    steps = set()

    def watch(layer: Layer, output: Array) -> None:
        if layer.is_spiking:
            steps.update(np.unique(output * 4).tolist())

    predict(net, set_of(net), Noise(time_bits=2), watch=watch)
    assert steps <= {0, 1, 2, 3, 4} and len(steps) > 2


@pytest.mark.parametrize("rule", [{"encoding": "direct"}, {"standardize": True}])
def test_pixels_that_are_no_spikes_have_no_time_to_move(rule: dict[str, Any]) -> None:
    statistics = {"mean": np.full(2, 0.4, np.float32), "std": np.full(2, 0.3, np.float32)}
    net = build(**rule, **statistics)
    encoded = net.encode(images(3))
    assert SpikeNoise(net, Noise(jitter=0.5)).encoded(encoded) is encoded
    assert predict(net, set_of(net), Noise(jitter=0.5)).evaluation != predict(net, set_of(net)).evaluation


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 16), st.integers(0, 5))
def test_noise_leaves_no_trace(bits: int, seed: int) -> None:
    before = predict(NET, SET).evaluation
    predict(NET, SET, Noise(0.1, bits, bits, seed))
    assert predict(NET, SET).evaluation == before


NET = build(5)
SET = set_of(NET)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jitter": -0.1}, "jitter must be a number from 0 to 1, not -0.1"),
        ({"jitter": float("nan")}, "jitter must be a number from 0 to 1, not nan"),
        ({"time_bits": 0}, "time_bits must be a whole number from 1 to 16, not 0"),
        ({"time_bits": 40}, "time_bits must be at most 16, not 40"),
        ({"weight_bits": 1}, "weight_bits must be a whole number from 2 to 16, not 1"),
        ({"seed": -1}, "noise_seed must be a whole number from 0, not -1"),
    ],
)
def test_what_is_no_noise_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as refused:
        Noise(**values)
    assert str(refused.value) == message


def test_noise_says_what_it_is() -> None:
    assert str(Noise()) == "none"
    assert str(Noise(0.02, 5, 6)) == ("jitter of 0.02 of the window (seed 0), spike times of 5 bits, weights of 6 bits")


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_on_a_gpu() -> None:
    """On one made of NumPy, of which a network's arrays are those of a CPU's."""
    noise = Noise(0.05, 4, 5)
    on_cpu, on_gpu = build(5), models.build(SPEC, SHAPE, CLASSES, device_of(Machine()), seed=5)
    here, there = (predict(net, set_of(net), noise) for net in (on_cpu, on_gpu))
    np.testing.assert_array_equal(here.classes, there.classes)
    assert there.evaluation.totals.loss == pytest.approx(here.evaluation.totals.loss, rel=1e-4)
