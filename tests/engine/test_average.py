"""The moving average of the weights beside plain loops in float64, and what it must leave alone."""

import copy
import pickle
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from helpers.small_network import CLASSES, build, images
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.comparison import DEVICE, host

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Optimizer, Sgd
from ttfs_cupy.engine.steps.training_step import TrainingStep


class Case:
    """A network in training by gradients that are drawn."""

    def __init__(self, decay: float, lr: float = 0.05, **rule: Any):
        self.net = models.build([12, 27, {"linear": 12}], (3, 4, 4), 9, DEVICE, **rule)
        self.optimizer: Optimizer = Sgd(self.net.device, self.net.parameters, lr)
        self.average = WeightAverage(self.optimizer, decay)
        self.random = np.random.default_rng(1)

    def weights(self) -> np.ndarray:
        return host(self.net.parameters.values).copy()

    def averaged(self) -> np.ndarray:
        return self.average.state_dict()["values"]

    def step(self, *, spoilt: bool = False) -> np.ndarray:
        """The weights after it."""
        gradients = self.random.standard_normal(self.net.parameters.size).astype(np.float32)
        gradients[5] = np.nan if spoilt else gradients[5]
        self.net.parameters.gradients[...] = self.net.device.to_device(gradients)
        self.optimizer.step()
        self.average.follow()
        return self.weights()


def plainly(trajectory: list[np.ndarray], decay: float) -> np.ndarray:
    average = np.zeros(trajectory[0].shape)
    for earlier, weights in enumerate(trajectory):
        d = min(decay, earlier / (10 + earlier))
        average = d * average + (1 - d) * weights.astype(np.float64)
    return average


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.9, 0.999])
def test_it_follows_as_a_plain_loop_does(decay: float) -> None:
    case, trajectory = Case(decay), []
    for _ in range(60):
        trajectory.append(case.step())
        np.testing.assert_allclose(case.averaged(), plainly(trajectory, decay), rtol=1e-5, atol=1e-5)


def test_where_training_began_is_forgotten_at_the_first_step() -> None:
    case = Case(0.999)
    np.testing.assert_array_equal(case.averaged(), case.weights())
    case.net.parameters.values[...] += 100
    first = case.step()
    np.testing.assert_allclose(case.averaged(), first, rtol=1e-6)


def test_a_skipped_step_does_not_move_it() -> None:
    case, plain = Case(0.9), Case(0.9)
    for number in range(20):
        case.step()
        before = case.averaged()
        plain.random.bit_generator.state = case.random.bit_generator.state
        case.step(spoilt=True)
        assert case.averaged().tobytes() == before.tobytes()
        case.random.bit_generator.state = plain.random.bit_generator.state
        assert case.optimizer.counts.skipped == number + 1
    plain = Case(0.9)
    for _ in range(20):
        plain.step()
    assert case.averaged().tobytes() == plain.averaged().tobytes()


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.9999), st.integers(1, 30), st.integers(0, 2**32))
def test_it_lies_among_the_weights_that_it_followed(decay: float, steps: int, seed: int) -> None:
    case, trajectory = Case(decay), []
    case.random = np.random.default_rng(seed)
    for _ in range(steps):
        trajectory.append(case.step())
    averaged, slack = case.averaged(), 1e-5
    assert (averaged >= np.min(trajectory, axis=0) - slack).all()
    assert (averaged <= np.max(trajectory, axis=0) + slack).all()


def test_the_same_weights_stay_the_same() -> None:
    case = Case(0.999, lr=1e-30)
    for _ in range(5):
        case.step()
    assert case.averaged().tobytes() == case.weights().tobytes()


# In place


def test_in_place_the_network_is_the_averaged_one() -> None:
    case = Case(0.9)
    for _ in range(7):
        case.step()
    averaged, before, encoded = case.averaged(), case.weights(), case.net.encode(images_for(case.net))
    plain = models.build([12, 27, {"linear": 12}], (3, 4, 4), 9, DEVICE)
    plain.parameters.values[...] = plain.device.to_device(averaged)
    with case.average.in_place():
        assert case.weights().tobytes() == averaged.tobytes()
        found, named = host(case.net.forward(encoded)).copy(), case.net.state_dict()
    assert found.tobytes() == host(plain.forward(encoded)).tobytes()
    for name, array in plain.state_dict().items():
        np.testing.assert_array_equal(named[name], array)
    assert case.weights().tobytes() == before.tobytes()
    assert case.averaged().tobytes() == averaged.tobytes()


def images_for(net: Network) -> np.ndarray:
    return np.random.default_rng(3).random((5, *net.input_shape), np.float32)


def test_training_goes_on_as_if_it_had_not_been_in_place() -> None:
    visited, plain = Case(0.9), Case(0.9)
    for _ in range(5):
        visited.step()
        plain.step()
        with visited.average.in_place():
            visited.net.forward(visited.net.encode(images_for(visited.net)))
    assert visited.weights().tobytes() == plain.weights().tobytes()
    assert visited.averaged().tobytes() == plain.averaged().tobytes()


def test_what_is_trained_in_their_place_stays_as_it_is() -> None:
    """Of standardised weights, which follow from other arrays, an average has the weights that the layers see."""
    visited, plain = Case(0.9, normalization="weight"), Case(0.9, normalization="weight")
    trajectory = []
    for _ in range(8):
        trajectory.append(visited.step())
        plain.step()
        trained = host(visited.net.parameters.trained).copy()
        with visited.average.in_place():
            np.testing.assert_allclose(visited.weights(), plainly(trajectory, 0.9), rtol=1e-5, atol=1e-6)
            assert host(visited.net.parameters.trained).tobytes() == trained.tobytes()
    assert visited.weights().tobytes() == plain.weights().tobytes()
    assert host(visited.net.parameters.trained).tobytes() == host(plain.net.parameters.trained).tobytes()


def test_it_leaves_when_the_block_raises() -> None:
    case = Case(0.9)
    case.step()
    case.step()
    before, averaged = case.weights(), case.averaged()
    with pytest.raises(KeyError), case.average.in_place():
        raise KeyError
    assert case.weights().tobytes() == before.tobytes()
    assert case.averaged().tobytes() == averaged.tobytes()


INSIDE: dict[str, Callable[[Case], Any]] = {
    "follow": lambda case: case.average.follow(),
    "in_place": lambda case: case.average.in_place().__enter__(),
    "state_dict": lambda case: case.average.state_dict(),
    "load_state_dict": lambda case: case.average.load_state_dict({}),
    "pickle": lambda case: pickle.dumps(case.average),
    "a step of the optimiser": lambda case: case.optimizer.step(),
    "raw weights are loaded": lambda case: case.net.parameters.load_trained({}),
    "a copy of what is trained": lambda case: case.net.parameters.trained_dict(),
    "weights are loaded": lambda case: case.net.load_state_dict(case.net.state_dict()),
    "a copy of the network": lambda case: copy.deepcopy(case.net),
}


@pytest.mark.parametrize("name", INSIDE)
def test_what_has_no_meaning_in_place(name: str) -> None:
    case = Case(0.9)
    for _ in range(3):
        case.step()
    weights, averaged = case.weights(), case.averaged()
    assert (weights != averaged).all()
    with case.average.in_place(), pytest.raises(ValueError, match="the averaged weights are in place"):
        INSIDE[name](case)
    assert case.weights().tobytes() == weights.tobytes()
    assert case.averaged().tobytes() == averaged.tobytes()
    case.average.follow()


def test_no_training_in_place() -> None:
    """The group that had begun goes on after the block."""
    case, random = Case(0.9), np.random.default_rng(0)
    for _ in range(3):
        case.step()
    step = TrainingStep(case.net, case.optimizer, 4, accumulate=2)
    for begins in (True, False):
        step.send(random.random((4, 4, 4, 3), np.float32), random.integers(0, 9, 4).astype(np.int32))
        if begins:
            step.run()
    weights, averaged = case.weights(), case.averaged()
    with case.average.in_place():
        for act in (step.run, step.flush):
            with pytest.raises(ValueError, match="the averaged weights are in place"):
                act()
    assert case.weights().tobytes() == weights.tobytes()
    assert case.averaged().tobytes() == averaged.tobytes()
    assert step.has_begun
    step.run()
    assert case.weights().tobytes() != weights.tobytes()


def train(case: Case) -> None:
    random = np.random.default_rng(0)
    step = TrainingStep(case.net, case.optimizer, 4)
    step.send(random.random((4, 4, 4, 3), np.float32), random.integers(0, 9, 4).astype(np.int32))
    step.run()


WAITING: dict[str, Callable[[Case], Any]] = {
    "to read": lambda case: case.net.state_dict(),
    "to train": train,
    "to load": lambda case: case.net.parameters.load_trained({}),
}


@pytest.mark.parametrize("name", WAITING)
def test_other_threads_wait_while_it_is_in_place(name: str) -> None:
    case = Case(0.9)
    for _ in range(3):
        case.step()
    ended: list[str] = []

    def other() -> None:
        with pytest.raises(ValueError, match="missing") if name == "to load" else nullcontext():
            WAITING[name](case)
        ended.append(name)

    thread = threading.Thread(target=other)
    with case.average.in_place():
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not ended
    thread.join()
    assert ended == [name]


# Kept and copied


def test_a_state_goes_on_to_the_same_bits() -> None:
    case, other = Case(0.9), Case(0.9)
    for _ in range(4):
        case.step()
    other.net.load_state_dict(case.net.state_dict())
    other.optimizer.load_state_dict(case.optimizer.state_dict())
    other.average.load_state_dict(case.average.state_dict())
    other.random.bit_generator.state = case.random.bit_generator.state
    for one in (case, other):
        for _ in range(4):
            one.step()
    assert other.averaged().tobytes() == case.averaged().tobytes()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda values: {}, "must be given by the one name 'values'"),
        (lambda values: {"values": values, "more": values}, "must be given by the one name 'values'"),
        (lambda values: [values], "must be given by the one name 'values'"),
        (lambda values: {"values": values[1:]}, r"must be float32 \(.*,\), not float32"),
        (lambda values: {"values": values.astype(np.float64)}, r"must be float32 \(.*,\), not float64"),
        (lambda values: {"values": np.full_like(values, np.inf)}, "are not all finite"),
    ],
)
def test_a_state_that_is_none(change: Callable[[np.ndarray], Any], sentence: str) -> None:
    case = Case(0.9)
    before = case.averaged()
    with pytest.raises(ValueError, match=f"^the averaged weights {sentence}"):
        case.average.load_state_dict(change(before))
    assert case.averaged().tobytes() == before.tobytes()


@pytest.mark.parametrize("way", ["copy", "pickle"])
def test_copies_go_their_own_way(way: str) -> None:
    case = Case(0.9)
    case.step()
    whole = (case.net, case.optimizer, case.average)
    net, optimizer, average = copy.deepcopy(whole) if way == "copy" else pickle.loads(pickle.dumps(whole))
    assert average.optimizer is optimizer and average.turns is net.turns
    before = case.averaged()
    net.parameters.gradients[...] = 1
    optimizer.step()
    average.follow()
    assert case.averaged().tobytes() == before.tobytes() != average.state_dict()["values"].tobytes()
    with pytest.raises(TypeError, match=r"copy\.deepcopy"):
        copy.copy(average)


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, np.nan, "x", None, True, 0.99999999])
def test_a_decay_that_is_none(decay: Any) -> None:
    with pytest.raises(UserError, match=r"^decay must be a number above 0, up to 0\.9999999, not "):
        Case(decay)


# In a step


def test_a_step_takes_it_along() -> None:
    net = build()
    optimizer = Adam(net.device, net.parameters, 1e-2)
    step = TrainingStep(net, optimizer, 4, average=WeightAverage(optimizer, 0.9))
    by_hand = build()
    other = Adam(by_hand.device, by_hand.parameters, 1e-2)
    average = WeightAverage(other, 0.9)
    for number in range(5):
        inputs, labels = host(net.encode(images(4, seed=number))), (np.arange(4) % CLASSES).astype(np.int32)
        step.send(inputs, labels)
        step.run()
        by_hand.train_step(by_hand.device.to_device(inputs), by_hand.device.to_device(labels), other)
        average.follow()
    assert step._average is not None
    assert step._average.state_dict()["values"].tobytes() == average.state_dict()["values"].tobytes()
    assert net.state_dict()["readout.weight"].tobytes() == by_hand.state_dict()["readout.weight"].tobytes()


def test_an_average_of_other_weights() -> None:
    net, other = build(), build()
    optimizer = Adam(net.device, net.parameters)
    stranger = WeightAverage(Adam(other.device, other.parameters), 0.9)
    with pytest.raises(ValueError, match="must be of this optimiser's weights"):
        TrainingStep(net, optimizer, 4, average=stranger)
    with pytest.raises(TypeError, match="average must be of type WeightAverage"):
        TrainingStep(net, optimizer, 4, average=0.9)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="optimizer must be of type Optimizer"):
        WeightAverage(net, 0.9)  # type: ignore[arg-type]
