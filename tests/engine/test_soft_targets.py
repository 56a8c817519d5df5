"""Label smoothing and mixed labels through a network: losses, gradients, steps, and targets that are none."""

from typing import Any

import numpy as np
import pytest
from helpers.mixed_labels import COUNT, LABELS, MIXED, OTHERS, SHARES
from helpers.small_network import CLASSES, bits, images, on

from ttfs_cupy import Adam, Evaluator, MixedLabels, Network, TrainingStep
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device

# What is computed


def test_a_mixed_batchs_loss_is_the_sum_of_both_by_their_shares(device: str | Device) -> None:
    net = on(device)
    encoded = net.encode(images(COUNT))
    loss, gradients = net.loss_and_gradients(encoded, MIXED)
    expected, sums = 0.0, {name: np.zeros(array.shape) for name, array in gradients.items()}
    for row in range(COUNT):
        for label, share in ((LABELS[row], SHARES[row]), (OTHERS[row], 1 - SHARES[row])):
            one, gradient = net.loss_and_gradients(encoded[row : row + 1], np.array([label]))
            expected += share * one / COUNT
            for name, array in gradient.items():
                sums[name] += share * array.astype(np.float64) / COUNT
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, array in gradients.items():
        np.testing.assert_allclose(array, sums[name], rtol=0, atol=1e-6 * np.abs(sums[name]).max())


@pytest.mark.parametrize("labels", [LABELS, MIXED])
def test_smoothing_is_a_share_of_every_class(labels: Any, net: Network) -> None:
    encoded = net.encode(images(COUNT))
    plain, gradients = net.loss_and_gradients(encoded, labels)
    everywhere = [net.loss_and_gradients(encoded, np.full(COUNT, k)) for k in range(CLASSES)]
    for smoothing in (0.1, 0.5):
        loss, smoothed = net.loss_and_gradients(encoded, labels, smoothing)
        even = np.mean([one for one, _ in everywhere])
        assert loss == pytest.approx((1 - smoothing) * plain + smoothing * even, rel=1e-6)
        for name, array in smoothed.items():
            expected = (1 - smoothing) * gradients[name] + smoothing * np.mean([g[name] for _, g in everywhere], axis=0)
            np.testing.assert_allclose(array, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_accuracy_is_of_the_label_with_the_larger_share(net: Network) -> None:
    encoded = net.encode(images(COUNT))
    mostly = np.where(SHARES >= 0.5, LABELS, OTHERS)
    right = (net.forward(encoded).argmax(axis=1) == mostly).mean()
    net.plan(COUNT)
    net.loss.reset()
    net.loss.add(net.run(encoded), MIXED.to(net.device))
    assert net.loss.read().accuracy == pytest.approx(right)


# Steps


def test_a_loop_of_ones_own_and_steps_leave_the_same_bits(device: str | Device) -> None:
    """Plain and mixed batches in turn, a smaller one among them."""
    found = set()
    for capture in (None, False, True):
        net = on(device)
        optimizer = Adam(net.device, net.parameters)
        net.plan(COUNT, training=True)
        step = TrainingStep(net, optimizer, COUNT, capture=bool(capture), label_smoothing=0.1)
        for number in range(12):
            count = COUNT if number % 4 else COUNT - 2
            inputs = net.device.to_host(net.encode(images(count, number)))
            mixed = MixedLabels(LABELS[:count], OTHERS[:count], np.roll(SHARES, number)[:count].copy())
            labels = mixed if number % 2 else mixed.labels
            if capture is None:
                on_device = mixed.to(net.device) if number % 2 else net.device.to_device(mixed.labels)
                net.train_step(net.device.to_device(inputs), on_device, optimizer, label_smoothing=0.1)
            else:
                step.send(inputs, labels)
                step.run()
        totals = net.loss.read()
        found.add((bits(net), totals.loss, totals.accuracy))
        if capture and net.device.streams is not None:
            # mixed and not of the whole size, and of the smaller one what came at all
            assert step.graphs == 3
    assert len(found) == 1


@pytest.mark.parametrize("settings", [{"label_smoothing": 0.3}, {"class_weights": [0.25, 3.0, 1.0, 7.5]}])
def test_an_evaluation_is_of_plain_cross_entropy(settings: dict[str, Any], device: str | Device) -> None:
    net = on(device)
    encoded = net.device.to_host(net.encode(images(COUNT)))
    plain, _ = net.loss_and_gradients(encoded, LABELS)
    trained, _ = net.loss_and_gradients(encoded, LABELS, **settings)
    step = TrainingStep(net, Adam(net.device, net.parameters, 1e-30), COUNT, **settings)
    step.send(encoded, LABELS)
    step.run()
    assert net.loss.read().loss == pytest.approx(trained, rel=1e-6) != plain
    net.loss.reset()
    evaluator = Evaluator(net, COUNT)
    evaluator.send(encoded, LABELS)
    evaluator.run()
    assert net.loss.read().loss == pytest.approx(plain, rel=1e-6)


# Targets that are none

WRONG = [
    (
        MixedLabels(LABELS, OTHERS[:2], SHARES),
        ValueError,
        r"others must have shape \(6,\), one for each image, not \(2,",
    ),
    (MixedLabels(LABELS, OTHERS, SHARES[:, None]), ValueError, r"shares must have shape \(6,\).*not \(6, 1\)"),
    (MixedLabels(LABELS, OTHERS.astype(np.int64), SHARES), TypeError, "others must be int32, not int64"),
    (MixedLabels(LABELS, OTHERS, SHARES.astype(np.float64)), TypeError, "shares must be float32, not float64"),
    (MixedLabels(LABELS.tolist(), OTHERS, SHARES), TypeError, "labels must be .*not builtins.list"),
    (MixedLabels(LABELS, OTHERS, None), TypeError, "shares must be .*not builtins.NoneType"),
]


@pytest.mark.parametrize(("labels", "error", "message"), WRONG)
def test_arrays_that_are_none(labels: MixedLabels, error: type[Exception], message: str, net: Network) -> None:
    inputs = net.encode(images(COUNT))
    optimizer = Adam(net.device, net.parameters)
    before = bits(net)
    with pytest.raises(error, match=message):
        net.train_step(inputs, labels, optimizer)
    with pytest.raises(error, match=message):
        TrainingStep(net, optimizer, COUNT).send(net.device.to_host(inputs), labels)
    assert bits(net) == before and optimizer.counts.applied == 0


def spoilt(place: str, value: float) -> MixedLabels:
    arrays = {"labels": LABELS.copy(), "others": OTHERS.copy(), "shares": SHARES.copy()}
    arrays[place][3] = value
    return MixedLabels(**arrays)


SPOILT = [
    *[("others", value, "labels must lie in 0 to 3") for value in (CLASSES, -1, 2**31 - 1, -(2**31))],
    ("labels", CLASSES, "labels must lie in 0 to 3"),
    *[("shares", value, "shares must lie in 0 to 1") for value in (np.nan, -0.1, 1.0001, np.inf, -np.inf)],
]


@pytest.mark.parametrize(("place", "value", "message"), SPOILT)
def test_values_that_are_none_mark_the_batch(place: str, value: float, message: str, device: str | Device) -> None:
    net = on(device)
    optimizer = Adam(net.device, net.parameters)
    step = TrainingStep(net, optimizer, COUNT)
    inputs = net.device.to_host(net.encode(images(COUNT)))
    for _ in range(3):
        step.send(inputs, MIXED)
        step.run()
    before = bits(net)
    step.send(inputs, spoilt(place, value))
    with pytest.raises(ValueError, match=f"{message}; a batch in which they do not was left out"):
        step.run()
        net.loss.read()
    assert bits(net) == before
    assert (optimizer.counts.applied, net.loss.read().images) == (3, 3 * COUNT)
    step.send(inputs, MIXED)
    step.run()
    assert net.loss.read().images == 4 * COUNT
    with pytest.raises(ValueError, match=r"labels must lie in|others must lie in|shares must be 6 numbers in 0 to 1"):
        net.loss_and_gradients(inputs, spoilt(place, value))


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, np.nan, "0.1", None, True])
def test_smoothing_that_is_none(value: Any, net: Network) -> None:
    inputs, optimizer = net.encode(images(COUNT)), Adam(net.device, net.parameters)
    for call in (
        lambda: TrainingStep(net, optimizer, COUNT, label_smoothing=value),
        lambda: net.train_step(inputs, LABELS, optimizer, label_smoothing=value),
        lambda: net.loss_and_gradients(inputs, LABELS, value),
    ):
        with pytest.raises(UserError, match="label_smoothing must be a number from 0 to below 1, not"):
            call()
    assert optimizer.counts.applied == 0
