"""Class weights through a network and in training steps: losses, gradients, graphs, accumulation, mistakes."""

from typing import Any

import numpy as np
import pytest
from helpers.mixed_labels import COUNT, LABELS, MIXED, OTHERS, SHARES
from helpers.small_network import bits, images, on

from ttfs_cupy import Adam, MixedLabels, Network, Sgd, TrainingStep
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device

WEIGHTS = np.array([0.25, 3.0, 1.0, 7.5], np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_a_batchs_loss_is_the_mean_of_its_images_each_times_its_weight(
    smoothing: float, is_mixed: bool, device: str | Device
) -> None:
    """As docs/model.md defines it: the weights of a mixed image's classes count by their shares; divided by N."""
    net = on(device)
    encoded = net.encode(images(COUNT))
    loss, gradients = net.loss_and_gradients(encoded, MIXED if is_mixed else LABELS, smoothing, WEIGHTS)
    expected, sums = 0.0, {name: np.zeros(array.shape) for name, array in gradients.items()}
    for row in range(COUNT):
        one = slice(row, row + 1)
        labels = MixedLabels(LABELS[one], OTHERS[one], SHARES[one]) if is_mixed else LABELS[one]
        weight = float(WEIGHTS[LABELS[row]])
        if is_mixed:
            weight = SHARES[row] * weight + (1 - SHARES[row]) * float(WEIGHTS[OTHERS[row]])
        its_loss, its_gradients = net.loss_and_gradients(encoded[one], labels, smoothing)
        expected += weight * its_loss / COUNT
        for name, array in its_gradients.items():
            sums[name] += weight * array.astype(np.float64) / COUNT
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, array in gradients.items():
        np.testing.assert_allclose(array, sums[name], rtol=0, atol=1e-6 * np.abs(sums[name]).max())


def take_steps(step: TrainingStep, net: Network, count: int) -> None:
    """Every other one of a mixed batch."""
    for number in range(count):
        step.send(net.device.to_host(net.encode(images(COUNT, number))), MIXED if number % 2 else LABELS)
        step.run()


def test_a_loop_of_ones_own_launches_and_graphs_leave_the_same_bits(device: str | Device) -> None:
    found = set()
    for capture in (None, False, True):
        net = on(device)
        optimizer = Adam(net.device, net.parameters)
        net.plan(COUNT, training=True)
        given = WEIGHTS.copy()
        step = TrainingStep(net, optimizer, COUNT, capture=bool(capture), class_weights=given)
        given[...] = np.nan  # the step has its own
        if capture is None:
            on_device = net.device.to_device(WEIGHTS)
            for number in range(9):
                labels = MIXED.to(net.device) if number % 2 else net.device.to_device(LABELS)
                net.train_step(net.encode(images(COUNT, number)), labels, optimizer, class_weights=on_device)
        else:
            take_steps(step, net, 9)
        totals = net.loss.read()
        found.add((bits(net), totals.loss, totals.accuracy))
        if capture and net.device.streams is not None:
            assert step.graphs == 2
    assert len(found) == 1
    unweighted = on(device)
    step = TrainingStep(unweighted, Adam(unweighted.device, unweighted.parameters), COUNT)
    take_steps(step, unweighted, 9)
    assert bits(unweighted) not in {weights for weights, *_ in found}


def test_weights_of_1_change_no_bit(device: str | Device) -> None:
    found = set()
    for weights in (None, [1, 1.0, np.float32(1), 1]):
        net = on(device)
        step = TrainingStep(net, Adam(net.device, net.parameters), COUNT, label_smoothing=0.1, class_weights=weights)
        take_steps(step, net, 4)
        found.add(bits(net))
    assert len(found) == 1


def test_batches_that_are_accumulated_are_one_batch() -> None:
    """Uneven ones, too, whose weights have other means: what PyTorch divides by would be another number for each."""
    results = []
    for batches in ([slice(0, COUNT)], [slice(0, 1), slice(1, COUNT)]):
        net = on("cpu")
        optimizer = Sgd(net.device, net.parameters, 0.5)
        step = TrainingStep(net, optimizer, COUNT, accumulate=len(batches), class_weights=WEIGHTS)
        encoded, before = net.encode(images(COUNT)), net.parameters.values.copy()
        for part in batches:
            step.send(encoded[part], LABELS[part])
            step.run()
        assert optimizer.counts.applied == 1
        results.append(net.parameters.values - before)
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=2e-6 * np.abs(results[0]).max())
    assert np.abs(results[0]).max() > 0.01


WRONG = [
    ([1, 2, 3], "class_weights must be 4 numbers, one for each class, not \\[1, 2, 3\\]"),
    (np.ones((4, 1)), "the weight of class 0 must be a number from 1e-6 to 1e6, not \\[1.0\\]"),
    (np.float64(1), "class_weights must be 4 numbers"),
    ({0: 1, 1: 1, 2: 1, 3: 1}, "class_weights must be 4 numbers"),
    ("aaaa", "class_weights must be 4 numbers"),
    ([1, 1, 0, 1], "the weight of class 2 must be a number from 1e-6 to 1e6, not 0"),
    ([1, -1, 1, 1], "the weight of class 1 must be a number from 1e-6 to 1e6, not -1"),
    ([1, 1, 1, np.nan], "the weight of class 3 must be a number from 1e-6 to 1e6, not nan"),
    ([1, 1, 1, np.inf], "the weight of class 3 must be a number from 1e-6 to 1e6, not inf"),
    ([1, 1, 1, True], "the weight of class 3 must be a number from 1e-6 to 1e6, not true"),
]


@pytest.mark.parametrize(("weights", "message"), WRONG)
def test_weights_that_are_none(weights: Any, message: str, net: Network) -> None:
    inputs, optimizer = net.encode(images(COUNT)), Adam(net.device, net.parameters)
    with pytest.raises(UserError, match=message):
        TrainingStep(net, optimizer, COUNT, class_weights=weights)
    with pytest.raises(UserError, match=message):
        net.loss_and_gradients(inputs, LABELS, class_weights=weights)


WRONG_ARRAYS = [
    (WEIGHTS.tolist(), TypeError, "class_weights must be an array on cpu.*not builtins.list"),
    (WEIGHTS.astype(np.float64), TypeError, "class_weights must be float32 and C-contiguous, not float64"),
    (WEIGHTS[:3].copy(), ValueError, r"class_weights must have shape \(4,\), not \(3,\)"),
    (np.repeat(WEIGHTS, 2)[::2], TypeError, "class_weights must be float32 and C-contiguous"),
]


@pytest.mark.parametrize(("weights", "error", "message"), WRONG_ARRAYS)
def test_arrays_that_are_none(weights: Any, error: type[Exception], message: str, net: Network) -> None:
    optimizer, before = Adam(net.device, net.parameters), bits(net)
    with pytest.raises(error, match=message):
        net.train_step(net.encode(images(COUNT)), LABELS, optimizer, class_weights=weights)
    assert bits(net) == before and optimizer.counts.applied == 0
