"""What a silent class is where the readout fires: T2FSNN's rule, its probabilities, loss, gradient, and its edges."""

import copy
import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from helpers.numbers import host
from helpers.small_network import CLASSES, SHAPE, bits, build, images
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ttfs_cupy import Adam, Evaluator, MixedLabels, Network, TrainingStep, models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device
from ttfs_cupy.trained.decision import decide, probabilities

Floats = NDArray[np.float64]
FIRES = {"readout": "spike_times"}

many = settings(max_examples=200, deadline=None, derandomize=True)


@cache
def network(silent: str) -> Network:
    """Whose loss is handed readouts."""
    net = build(**FIRES, silent=silent)
    net.plan(ROWS, training=True)
    return net


# T2FSNN's rule, in times: p = softmax(-t), t = inf for silence, and gradient p - wanted for what fired in its window


def softmax_of_times(times: Floats) -> Floats:
    """Of nothing but silence, where T2FSNN has NaN, uniform."""
    powers = np.exp(-times)
    powers[np.isinf(times).all(axis=1)] = 1.0
    found: Floats = powers / powers.sum(axis=1, keepdims=True)
    return found


def gradient_by_earliness(times: Floats, wanted: Floats, t_win: float) -> Floats:
    """Of the batch's mean; p - wanted is -dLoss/dt, so dLoss/dx."""
    fired_inside = (times > 0) & (times < t_win)
    return np.where(fired_inside, softmax_of_times(times) - wanted, 0) / len(times)


def losses(earliness: Floats, wanted: Floats) -> Floats:
    """Of each image: -log p of what is wanted, where a silent class's share is e^-104 beside others' e^x."""
    logits = np.where(earliness == 0, -104.0, earliness)
    largest = logits.max(axis=1, keepdims=True)
    logs = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    return np.asarray(-(wanted * logs).sum(axis=1))


# Readouts on a coarse grid, so that ties, silence and spikes as the window opens are common

ROWS, T_WINS = 12, (1.0, 0.5, 3.0)


@st.composite
def readouts(draw: st.DrawFn) -> tuple[NDArray[np.float32], float]:
    """Earliness, (rows, classes), and t_win."""
    rows, t_win = draw(st.integers(1, ROWS)), draw(st.sampled_from(T_WINS))
    levels = draw(st.lists(st.integers(0, 8), min_size=rows * CLASSES, max_size=rows * CLASSES))
    loudness = draw(st.sampled_from([0, 1, 4]))  # how many levels are lifted out of silence
    lifted = [level if level > loudness else 0 for level in levels]
    return (np.array(lifted, np.float32).reshape(rows, CLASSES) * np.float32(t_win / 8)), t_win


def in_times(earliness: NDArray[np.float32], t_win: float) -> Floats:
    return np.where(earliness == 0, np.inf, t_win - earliness.astype(np.float64))


@many
@given(readouts())
def test_the_probabilities_are_t2fsnns(given_: tuple[NDArray[np.float32], float]) -> None:
    earliness, t_win = given_
    found, silent = probabilities(earliness, "excluded"), earliness == 0
    np.testing.assert_allclose(found, softmax_of_times(in_times(earliness, t_win)), rtol=1e-12, atol=1e-40)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    shown = found.astype(np.float32)
    all_silent = silent.all(axis=1)
    assert (shown[silent & ~all_silent[:, None]] == 0).all() and (shown[~silent] > 0).all()
    np.testing.assert_array_equal(shown[all_silent], np.float32(1 / CLASSES))
    # rows without silence are as they were, bit for bit
    loud = ~silent.any(axis=1)
    assert found[loud].tobytes() == probabilities(earliness, "latest")[loud].tobytes()


@many
@given(readouts(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1, 0.5]), st.booleans(), st.booleans())
def test_loss_and_gradient_are_t2fsnns(
    given_: tuple[NDArray[np.float32], float], seed: int, smoothing: float, is_mixed: bool, is_weighted: bool
) -> None:
    (earliness, t_win), random = given_, np.random.default_rng(seed)
    rows, net = len(earliness), network("excluded")
    labels, others = random.integers(0, CLASSES, (2, rows)).astype(np.int32)
    shares = random.choice([0, 0.25, 0.5, 1], rows).astype(np.float32)
    share = shares[:, None] if is_mixed else np.ones((rows, 1))
    wanted = (1 - smoothing) * (share * np.eye(CLASSES)[labels] + (1 - share) * np.eye(CLASSES)[others])
    wanted = wanted + smoothing / CLASSES
    weights = random.uniform(0.1, 9, CLASSES).astype(np.float32) if is_weighted else None
    of_class = np.ones(CLASSES) if weights is None else weights
    weight = share[:, 0] * of_class[labels] + (1 - share[:, 0]) * of_class[others]
    targets = MixedLabels(labels, others, shares) if is_mixed else labels

    net.loss.reset()
    grad = net.loss.add(earliness, targets, smoothing, weights).copy()
    loss = net.loss.read().loss
    own_losses = weight * losses(earliness.astype(np.float64), wanted)
    assert loss == pytest.approx(own_losses.mean(), rel=2e-6, abs=2e-6)
    # as the neuron lets it pass
    passed = np.where((earliness > 0) & (earliness < t_win), grad, 0)
    expected = weight[:, None] * gradient_by_earliness(in_times(earliness, t_win), wanted, t_win)
    np.testing.assert_allclose(passed, expected, rtol=0, atol=2e-6 * weight.max() / rows)
    # and it is the loss's own, by central differences in float64, where nothing falls silent
    k, moved = int(random.integers(CLASSES)), np.zeros(earliness.shape)
    moved[:, k] = np.where(earliness[:, k] == 0, 0, 1e-5)
    x = earliness.astype(np.float64)
    difference = weight * (losses(x + moved, wanted) - losses(x - moved, wanted)) / 2e-5 / rows
    fired = earliness[:, k] != 0
    np.testing.assert_allclose(grad[fired, k], difference[fired], rtol=0, atol=3e-6 * weight.max() / rows)


@many
@given(readouts(), st.integers(0, 2**32), st.sampled_from([0.0, 0.1]))
def test_without_silence_the_bits_are_those_of_latest(
    given_: tuple[NDArray[np.float32], float], seed: int, smoothing: float
) -> None:
    earliness = np.maximum(given_[0], np.float32(2**-10))
    labels = np.random.default_rng(seed).integers(0, CLASSES, len(earliness)).astype(np.int32)
    found = set()
    for silent in ("latest", "excluded"):
        loss = network(silent).loss
        loss.reset()
        found.add((loss.add(earliness, labels, smoothing).tobytes(), loss.read()))
    assert len(found) == 1


def test_an_images_own_class_is_silent() -> None:
    """Probability 0, a loss of 104 and the logarithm of the others' e^x, and the others are held back by their p."""
    loss = network("excluded").loss
    loss.reset()
    x = np.array([[0, 0.75, 0.25, 0]], np.float32)
    grad, sum_ = loss.add(x, np.array([0], np.int32))[0], np.exp(0.75) + np.exp(0.25)
    np.testing.assert_allclose(grad[[1, 2]], np.exp([0.75, 0.25]) / sum_, rtol=1e-6)
    totals = loss.read()
    assert totals.loss == pytest.approx(104 + np.log(sum_), rel=1e-6) and totals.accuracy == 0
    assert probabilities(x, "excluded").astype(np.float32)[0].tolist()[::3] == [0, 0]
    assert probabilities(x, "latest")[0, 0] == pytest.approx(1 / (2 + sum_))


@pytest.mark.parametrize("t_win", [1e-6, 1.0, 1e6])
def test_the_loss_is_finite_in_any_window(t_win: float) -> None:
    """And a silent class is 0 beside the faintest spike."""
    loss = network("excluded").loss
    for x in ([t_win, 0, 0, 0], [t_win * 1e-30, 0, 0, 0], [0, 0, 0, 0], [t_win, t_win, t_win, t_win]):
        for label in (0, 1):
            for smoothing in (0.0, 0.2):
                loss.reset()
                earliness = np.array([x], np.float32)
                assert np.isfinite(loss.add(earliness, np.array([label], np.int32), smoothing)).all()
                assert 0 <= loss.read().loss <= 104 + t_win + np.log(CLASSES)
        shown = probabilities(earliness, "excluded").astype(np.float32)[0]
        assert shown.tolist() == ([1, 0, 0, 0] if np.count_nonzero(earliness) == 1 else [0.25] * CLASSES)


# Through a network


def muted(net: Network) -> Network:
    """Whose classes 1 and 3 are silent, as their weights are all negative; 0 and 2 spike, few at once."""
    state = net.state_dict()
    weight = np.abs(state["readout.weight"])
    state["readout.weight"] = weight * np.array([[0.3], [-1], [0.2], [-1]], np.float32)
    net.load_state_dict(state)
    return net


def test_a_batch_of_which_all_is_silent() -> None:
    net = build(**FIRES, silent="excluded")
    black = net.encode(np.zeros((3, *SHAPE), np.float32))
    loss, gradients = net.loss_and_gradients(black, np.array([0, 1, 3]))
    assert loss == pytest.approx(np.log(CLASSES))
    assert all((gradient == 0).all() for gradient in gradients.values())
    found = decide(net, black)
    assert found.classes.tolist() == [0, 0, 0] and (found.probabilities == np.float32(1 / CLASSES)).all()


def test_a_silent_class_gets_no_gradient_and_has_others_held_back() -> None:
    net = muted(build(**FIRES, silent="excluded", psp_slope=0.0))
    encoded = net.encode(images(5))
    readout = host(net.forward(encoded))
    assert (readout[:, [1, 3]] == 0).all() and (readout[:, [0, 2]] > 0).any()
    loss, gradients = net.loss_and_gradients(encoded, np.full(5, 3))
    assert np.isfinite(loss) and (gradients["readout.weight"][[1, 3]] == 0).all()
    # each that spikes on an image of another class comes later after a step against this
    assert (gradients["readout.weight"][[0, 2]] >= 0).all() and gradients["readout.weight"].any()


def test_decisions_have_the_probabilities_of_the_loss() -> None:
    for silent in ("latest", "excluded"):
        net = muted(build(**FIRES, silent=silent))
        encoded = net.encode(images(6))
        found = decide(net, encoded)
        np.testing.assert_array_equal(found.classes, host(net.forward(encoded)).argmax(axis=1))
        net.loss.reset()
        for label in range(CLASSES):
            loss, _ = net.loss_and_gradients(encoded, np.full(6, label))
            shares = found.probabilities[:, label].astype(np.float64)
            if (shares > 0).all():
                assert loss == pytest.approx(-np.log(shares).mean(), rel=1e-5)
            else:
                assert silent == "excluded" and loss > 104 * (shares == 0).mean()
    assert (found.probabilities == 0).any()


def test_a_step_and_an_evaluation_have_the_loss_of_the_loop(device: str | Device) -> None:
    """On a stand-in for the GPU, too, where both are graphs."""
    labels = np.arange(6, dtype=np.int32) % CLASSES
    found = set()
    for capture in (None, True):
        net = muted(models.build([5, "P", {"linear": 6}], SHAPE, CLASSES, device, **FIRES, silent="excluded"))
        optimizer = Adam(net.device, net.parameters)
        net.plan(6, training=True)
        step = TrainingStep(net, optimizer, 6, capture=bool(capture), label_smoothing=0.1)
        for number in range(4):
            inputs = net.device.to_host(net.encode(images(6, number)))
            if capture is None:
                net.train_step(net.device.to_device(inputs), net.device.to_device(labels), optimizer, 0.1)
            else:
                step.send(inputs, labels)
                step.run()
        found.add((bits(net), net.loss.read().loss))
    assert len(found) == 1
    plain, _ = net.loss_and_gradients(inputs, labels)
    evaluator = Evaluator(net, 6)
    evaluator.send(inputs, labels)
    evaluator.run()
    assert net.loss.read().loss == pytest.approx(plain, rel=1e-6) and plain > 20


def test_a_copy_excludes_what_the_network_does() -> None:
    net = muted(build(**FIRES, silent="excluded"))
    encoded, labels = net.encode(images(4)), np.arange(4)
    loss, _ = net.loss_and_gradients(encoded, labels)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.silent == "excluded" and other.loss_and_gradients(encoded, labels)[0] == loss


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ({"silent": "excluded"}, "silent 'excluded' has no effect with readout 'potential': leave it out, or choose "),
        ({**FIRES, "silent": "never"}, "silent must be one of latest, excluded, not 'never'"),
        ({**FIRES, "silent": None}, "silent must be one of latest, excluded, not null"),
    ],
)
def test_what_silent_cannot_be(rule: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as raised:
        build(**rule)
    assert str(raised.value).startswith(sentence)
