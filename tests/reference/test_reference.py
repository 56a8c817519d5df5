"""The references themselves: against each other, against torch autograd, and against central differences.

What the engine is measured with is worth no more than this file shows it to be.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from reference import earliness, spike_times
from reference.specification import LayerSpec, Weights, kaiming_weights, random_images, read
from ttfs_cupy.benchmarks.peers.eager_t2fsnn import EagerNetwork

INPUT_SHAPE = (2, 9, 8)
CLASSES = 4
BATCH = 3

# Between them: every kind of layer, rectangular windows, strides that leave a remainder, overlapping pooling.
NETWORKS: dict[str, list[Any]] = {
    "plain": [6, "P", 5],
    "rectangular": [{"convolution": 5, "kernel": [3, 2], "stride": [2, 1], "padding": [0, 2]}, {"pool": [2, 3]}],
    "overlapping": [4, {"pool": 3, "stride": [1, 2]}, {"convolution": 3, "kernel": 1, "stride": 1, "padding": 0}],
    # two inputs each and wide weights: potentials that fall from above the threshold, and gains far above 1
    "few_inputs": [{"convolution": 100, "kernel": 1, "stride": 1, "padding": 0}, "P", {"linear": 9}],
    "linear": [{"linear": 11}, {"linear": 7}],
    "pool_first": [{"pool": [2, 1], "stride": [2, 1]}, 4, {"linear": 6}],
}
WEIGHT_SCALE = {"few_inputs": 2.0}
SLOPE_AND_CLIP = [(1.0, "gain"), (1.0, "separate"), (1.0, "none"), (0.5, "gain"), (0.5, "none"), (0.0, "none")]

every_network = pytest.mark.parametrize("network", NETWORKS)


class Case:
    """One network with its weights and a batch."""

    def __init__(self, spec: Sequence[Any], seed: int = 0, scale: float = 1.0):
        self.layers: list[LayerSpec] = read(spec, CLASSES)
        weights = kaiming_weights(self.layers, INPUT_SHAPE, seed)
        # of the first layer only: all would saturate
        weights[next(iter(weights))] *= scale
        self.weights: Weights = weights
        self.images = random_images(BATCH, INPUT_SHAPE, seed).astype(np.float64)
        self.labels = np.arange(BATCH) % CLASSES

    def in_earliness(self, weights: Weights | None = None, **rule: Any) -> earliness.Network:
        return earliness.build(self.layers, weights or self.weights, **rule)

    def loss_and_gradients(self, **rule: Any) -> tuple[float, dict[str, np.ndarray]]:
        encoded = earliness.encode(self.images, rule.get("t_win", 1.0))
        return self.in_earliness(**rule).loss_and_gradients(encoded, self.labels)


@cache
def case(network: str) -> Case:
    return Case(NETWORKS[network], scale=WEIGHT_SCALE.get(network, 1.0))


def assert_close(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-11) -> None:
    assert list(actual) == list(expected)
    for name, reference in expected.items():
        assert np.linalg.norm(reference) > 0, f"{name} has no gradient: the test would show nothing"
        error = np.linalg.norm(actual[name] - reference) / np.linalg.norm(reference)
        assert error <= tolerance, f"{name} deviates by {error:.1e}"


# The two references


@every_network
@pytest.mark.parametrize(("slope", "clip"), SLOPE_AND_CLIP)
@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("readout", "silent"), [("potential", "latest"), ("spike_times", "latest"), ("spike_times", "excluded")]
)
def test_the_two_references_agree(
    network: str, slope: float, clip: str, t_win: float, readout: str, silent: str
) -> None:
    given = case(network)
    rule: dict[str, Any] = {
        "t_win": t_win,
        "psp_slope": slope,
        "clip": clip,
        "grad_clip": 0.8,
        "readout": readout,
        "silent": silent,
    }
    in_times = spike_times.Network(given.layers, given.weights, **rule)
    in_earliness = given.in_earliness(**rule)
    encoded = earliness.encode(given.images, t_win)

    output = in_times.forward(in_times.encode(given.images))
    responses = in_earliness.forward(encoded)
    for layer, response in zip(given.layers, responses, strict=True):
        times = in_times.caches[layer.name].output
        if layer.kind == "readout" and readout == "potential":
            np.testing.assert_allclose(times, response.output, rtol=1e-11, atol=1e-11)
        else:
            np.testing.assert_array_equal(np.isinf(times), response.output == 0)
            np.testing.assert_allclose(t_win - np.minimum(times, t_win), response.output, rtol=1e-9, atol=1e-11)

    loss, gradients = in_earliness.backward(encoded, responses, given.labels)
    loss_in_times, gradients_in_times = in_times.backward(output, given.labels)
    assert loss_in_times == pytest.approx(loss, rel=1e-11)
    assert_close(gradients_in_times, gradients, 1e-9)


def test_the_networks_show_every_case_of_the_rule() -> None:
    """Or agreement on them would say little: silence, both ways to fire, a falling threshold not met, a high gain."""
    outputs, weight_sums = [], []
    for given in map(case, NETWORKS):
        # all but the readout
        for response in given.in_earliness().forward(given.images)[:-1]:
            if response.weight_sum is not None:
                outputs.append(response.output.ravel())
                weight_sums.append(response.weight_sum.ravel())
    x, growth = np.concatenate(outputs), 1 + np.concatenate(weight_sums)
    inside = (x > 0) & (x < 1)
    for seen in (x == 0, x == 1, inside, growth < 0, (growth < 0) & (x == 1), inside & (growth < 0.5)):
        assert np.count_nonzero(seen) >= 10


def test_clip_modes_differ() -> None:
    """Each mode clips something that the others do not, or the comparisons here would not tell them apart."""
    first = [case("plain").loss_and_gradients(clip=clip)[1]["conv1.weight"] for clip in ("gain", "separate", "none")]
    for one, other in itertools.combinations(first, 2):
        assert np.linalg.norm(one - other) > 0.01 * np.linalg.norm(one)


# torch autograd


class Autograd:
    """The closed form as differentiable torch float64: masks are constants, all else is torch's to differentiate."""

    def __init__(self, layers: Sequence[LayerSpec], weights: Weights, t_win: float, slope: float, readout: str):
        self.layers = layers
        self.weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in weights.items()}
        self.t_win = t_win
        self.slope = slope
        self.readout = readout

    def loss_and_gradients(self, encoded: np.ndarray, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        x = torch.tensor(encoded)
        for layer in self.layers:
            x = self._forward(layer, x)
        loss = functional.cross_entropy(x, torch.tensor(labels))
        loss.backward()
        gradients = {}
        for name, weight in self.weights.items():
            assert weight.grad is not None
            gradients[name] = weight.grad.numpy()
        return loss.item(), gradients

    def _forward(self, layer: LayerSpec, x: Tensor) -> Tensor:
        if layer.kind == "pool":
            return functional.max_pool2d(x, layer.kernel, layer.stride)
        mask = (x != 0).to(x.dtype)
        drive, weight_sum = self._weigh(layer, x), self._weigh(layer, mask)
        at_end = drive + self.slope * self.t_win * weight_sum
        if layer.kind == "readout" and self.readout == "potential":
            return at_end
        growth = 1 + self.slope * weight_sum
        fires = (growth > 0) & (at_end > 0)
        # the inner where keeps 1/0 out of what autograd multiplies by zero
        inside = torch.where(fires, at_end / torch.where(fires, growth, 1.0), 0.0)
        return torch.where(drive >= self.t_win, self.t_win, inside)

    def _weigh(self, layer: LayerSpec, x: Tensor) -> Tensor:
        weight = self.weights[layer.weight_name]
        if layer.kind == "convolution":
            return functional.conv2d(x, weight, stride=layer.stride, padding=layer.padding)
        return functional.linear(x.flatten(1), weight)


@every_network
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("t_win", [1.0, 3.0])
def test_autograd_of_the_closed_form_agrees(network: str, slope: float, t_win: float) -> None:
    given = case(network)
    peer = Autograd(given.layers, given.weights, t_win, slope, "potential")
    loss, gradients = peer.loss_and_gradients(earliness.encode(given.images, t_win), given.labels)
    expected_loss, expected = given.loss_and_gradients(t_win=t_win, psp_slope=slope, clip="none")
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_close(gradients, expected)


def test_autograd_agrees_on_a_firing_readout() -> None:
    given = case("plain")
    peer = Autograd(given.layers, given.weights, 1.0, 1.0, "spike_times")
    loss, gradients = peer.loss_and_gradients(given.images, given.labels)
    expected_loss, expected = given.loss_and_gradients(clip="none", readout="spike_times")
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    assert_close(gradients, expected)


@every_network
def test_slope_zero_is_a_relu_clipped_at_the_window(network: str) -> None:
    """torch's own relu and clamp, with no mask in sight."""
    given, t_win = case(network), 0.5
    weights = {name: torch.tensor(weight, requires_grad=True) for name, weight in given.weights.items()}
    x = torch.tensor(t_win * given.images)
    for layer in given.layers:
        if layer.kind == "pool":
            x = functional.max_pool2d(x, layer.kernel, layer.stride)
        elif layer.kind == "convolution":
            drive = functional.conv2d(x, weights[layer.weight_name], stride=layer.stride, padding=layer.padding)
            x = torch.relu(drive).clamp(max=t_win)
        else:
            drive = functional.linear(x.flatten(1), weights[layer.weight_name])
            x = drive if layer.kind == "readout" else torch.relu(drive).clamp(max=t_win)
    functional.cross_entropy(x, torch.tensor(given.labels)).backward()
    _, expected = given.loss_and_gradients(t_win=t_win, psp_slope=0.0)
    assert_close({name: weight.grad.numpy() for name, weight in weights.items() if weight.grad is not None}, expected)


def test_direct_encoding_agrees_with_autograd() -> None:
    given, t_win = case("plain"), 0.5
    pixels = np.random.default_rng(1).normal(size=given.images.shape)
    network = given.in_earliness(t_win=t_win, clip="none", encoding="direct")
    loss, gradients = network.loss_and_gradients(pixels, given.labels)

    peer = Autograd(given.layers[1:], given.weights, t_win, 1.0, "potential")
    first = given.layers[0]
    drive = functional.conv2d(torch.tensor(pixels), peer.weights[first.weight_name], padding=first.padding)
    x = torch.relu(t_win * drive).clamp(max=t_win)
    for layer in peer.layers:
        x = peer._forward(layer, x)
    expected_loss = functional.cross_entropy(x, torch.tensor(given.labels))
    expected_loss.backward()
    assert loss == pytest.approx(expected_loss.item(), rel=1e-12)
    expected = {name: weight.grad.numpy() for name, weight in peer.weights.items() if weight.grad is not None}
    assert_close(gradients, expected)


# Central differences


@every_network
@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("readout", ["potential", "spike_times"])
def test_central_differences(network: str, slope: float, readout: str) -> None:
    """Along random directions; a step of 1e-6 leaves about 1e-9 of the loss's 1e-16 and nothing of its curvature."""
    given = case(network)
    rule = {"psp_slope": slope, "clip": "none", "readout": readout}
    encoded = earliness.encode(given.images, 1.0)
    _, gradients = given.loss_and_gradients(**rule)
    rng = np.random.default_rng(5)
    for name, weight in given.weights.items():
        direction = rng.normal(size=weight.shape)
        step = 1e-6 * direction / np.linalg.norm(direction)
        sides = []
        for sign in (1, -1):
            moved = given.in_earliness({**given.weights, name: weight + sign * step}, **rule)
            responses = moved.forward(encoded)
            sides.append((responses, moved.backward(encoded, responses, given.labels)[0]))
        (above, loss_above), (below, loss_below) = sides
        for one, other in zip(above, below, strict=True):
            assert np.array_equal(one.output == 0, other.output == 0), "a neuron flipped: choose another seed"
        slope_along = (loss_above - loss_below) / 2e-6
        expected = float((gradients[name] * direction).sum() / np.linalg.norm(direction))
        assert slope_along == pytest.approx(expected, rel=1e-6, abs=1e-8), name


# The eager PyTorch peer of the benchmarks


@pytest.mark.parametrize("spec", [[6, "P", 5], [4, 7, "P", 3, "P"], [5, 3]], ids=str)
@pytest.mark.parametrize("t_win", [1.0, 3.0])
def test_the_benchmarks_peer_computes_the_same(spec: list[Any], t_win: float) -> None:
    given = Case(spec, seed=3)
    peer = EagerNetwork(spec, given.weights, t_win=t_win, grad_clip=0.9, dtype=torch.float64)
    times = peer.encode(torch.tensor(given.images))
    loss = peer.loss_and_gradients(times, torch.tensor(given.labels))
    expected_loss, expected = given.loss_and_gradients(t_win=t_win, clip="separate", grad_clip=0.9)
    assert loss.item() == pytest.approx(expected_loss, rel=1e-12)
    gradients = {name: weight.grad.numpy() for name, weight in peer.parameters.items() if weight.grad is not None}
    assert_close(gradients, expected)
