"""A step of several batches: that of one large batch, on a GPU (cuda_stand_in) a graph for each place in a group."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine
from helpers.small_network import CLASSES, build, images
from helpers.stepping import BATCHES, EPOCHS, ORDERS, Training
from reference.comparison import host

from ttfs_cupy import MixedLabels
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Limits, Sgd
from ttfs_cupy.engine.steps.training_step import TrainingStep

LR = 0.1
Batch = tuple[np.ndarray, np.ndarray]


def drawn(net: Network, count: int, seed: int) -> Batch:
    labels = np.random.default_rng(seed).integers(0, CLASSES, count).astype(np.int32)
    return host(net.encode(images(count, seed=seed))), labels


def pieces(whole: Batch, sizes: Sequence[int]) -> list[Batch]:
    ends = np.cumsum(sizes)[:-1]
    return list(zip(np.split(whole[0], ends), np.split(whole[1], ends), strict=True))


def take(step: TrainingStep, batches: Sequence[Batch]) -> None:
    for inputs, labels in batches:
        step.send(np.ascontiguousarray(inputs), np.ascontiguousarray(labels))
        step.run()
    step.flush()


@pytest.mark.parametrize("psp_slope", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [(8, 8, 8), (8, 8, 3), (8, 2), (5,), (8, 8, 8, 8, 8, 1)])
def test_a_step_is_that_of_one_large_batch(sizes: tuple[int, ...], psp_slope: float) -> None:
    """clip_norm 1 and decay act once a step, on the whole group's gradient."""
    limits = Limits(weight_decay=0.1, clip_norm=1.0)
    nets = [build(psp_slope=psp_slope) for _ in range(2)]
    apart, at_once = (Sgd(net.device, net.parameters, LR, momentum=0.9, limits=limits) for net in nets)
    of_pieces = TrainingStep(nets[0], apart, 8, accumulate=max(3, len(sizes)))
    of_whole = TrainingStep(nets[1], at_once, sum(sizes))
    for seed in range(4):
        whole = drawn(nets[0], sum(sizes), seed)
        take(of_pieces, pieces(whole, sizes))
        take(of_whole, [whole])
    assert apart.counts == at_once.counts and apart.counts.applied == 4
    for name, array in nets[1].state_dict().items():
        np.testing.assert_allclose(nets[0].state_dict()[name], array, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("normalization", ["none", "weight"])
def test_with_two_classes_an_image_smoothed_and_standardised(normalization: str) -> None:
    nets = [build(normalization=normalization) for _ in range(2)]
    apart, at_once = (Sgd(net.device, net.parameters, LR, momentum=0.9) for net in nets)
    of_pieces = TrainingStep(nets[0], apart, 8, accumulate=3, label_smoothing=0.1)
    of_whole = TrainingStep(nets[1], at_once, 19, label_smoothing=0.1)
    for seed in range(3):
        (inputs, labels), shares = drawn(nets[0], 19, seed), np.random.default_rng(seed).random(19, np.float32)
        others = np.roll(labels, 1)
        for first, last in ((0, 8), (8, 16), (16, 19)):
            part = slice(first, last)
            of_pieces.send(
                inputs[part].copy(), MixedLabels(labels[part].copy(), others[part].copy(), shares[part].copy())
            )
            of_pieces.run()
        of_whole.send(inputs, MixedLabels(labels, others, shares))
        of_whole.run()
    assert apart.counts == at_once.counts and apart.counts.applied == 3
    for ours, theirs in zip(*(host(net.parameters.trained) for net in nets), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-4, abs=1e-5)


def test_the_gradient_is_the_mean_over_the_groups_images() -> None:
    """Beside sums in float64."""
    net, sizes = build(), (8, 5, 2)
    batches = pieces(drawn(net, sum(sizes), 3), sizes)
    expected = {name: np.zeros(array.shape) for name, array in net.state_dict().items()}
    for (inputs, labels), size in zip(batches, sizes, strict=True):
        _, gradients = net.loss_and_gradients(inputs, labels)
        for name, gradient in gradients.items():
            expected[name] += size / sum(sizes) * gradient.astype(np.float64)
    take(TrainingStep(net, Sgd(net.device, net.parameters, LR), 8, accumulate=3), batches)
    for name, gradient in net.parameters.gradient_dict().items():
        np.testing.assert_allclose(gradient, expected[name], rtol=1e-6, atol=1e-7)


def test_a_group_of_one_batch_leaves_the_bits_of_a_step() -> None:
    bits = []
    for options in ({}, {"accumulate": 1}):
        net = build()
        step = TrainingStep(net, Adam(net.device, net.parameters), 8, **options)
        take(step, [drawn(net, 8, seed) for seed in range(3)])
        bits.append(host(net.parameters.values).tobytes())
    assert bits[0] == bits[1]


def test_a_step_comes_after_every_so_many_batches() -> None:
    net = build()
    optimizer = Adam(net.device, net.parameters)
    step = TrainingStep(net, optimizer, 4, accumulate=3)
    taken, begun, weights = [], [], []
    for seed in range(7):
        inputs, labels = drawn(net, 4, seed)
        step.send(inputs, labels)
        step.run()
        taken.append(optimizer.counts.applied)
        begun.append(step.has_begun)
        weights.append(host(net.parameters.values).tobytes())
    assert taken == [0, 0, 1, 1, 1, 2, 2]
    assert begun == [True, True, False, True, True, False, True]
    assert len(set(weights)) == 3
    step.flush()
    assert optimizer.counts.applied == 3
    for _ in range(2):
        step.flush()
    assert optimizer.counts.applied == 3 and not step.has_begun


def test_an_average_follows_steps_and_not_batches() -> None:
    net = build()
    optimizer = Adam(net.device, net.parameters, 1e-2)
    average = WeightAverage(optimizer, 0.9)
    step = TrainingStep(net, optimizer, 4, accumulate=2, average=average)
    seen = []
    for seed in range(5):
        inputs, labels = drawn(net, 4, seed)
        step.send(inputs, labels)
        step.run()
        seen.append(average.state_dict()["values"].tobytes())
    step.flush()
    seen.append(average.state_dict()["values"].tobytes())
    assert [earlier == later for earlier, later in pairwise(seen)] == [False, True, False, True, False]


# Batches that are none


def test_a_batch_that_is_none_ends_its_group_on_a_cpu() -> None:
    """It raises at once: what was added before is of no step."""
    net, plain = build(), build()
    optimizer, other = Adam(net.device, net.parameters), Adam(plain.device, plain.parameters)
    step = TrainingStep(net, optimizer, 4, accumulate=3)
    inputs, labels = drawn(net, 4, 0)
    step.send(inputs, labels)
    step.run()
    step.send(inputs, np.full(4, CLASSES, np.int32))
    with pytest.raises(ValueError, match="labels must lie in 0 to"):
        step.run()
    assert not step.has_begun and optimizer.counts.applied + optimizer.counts.skipped == 0
    batches = [drawn(net, 4, seed) for seed in range(1, 4)]
    take(step, batches)
    take(TrainingStep(plain, other, 4, accumulate=3), batches)
    assert host(net.parameters.values).tobytes() == host(plain.parameters.values).tobytes()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_that_is_none_skips_its_groups_step_on_a_gpu(place: int) -> None:
    spoilt, plain = Training(accumulate=3, decay=0.9), Training(accumulate=3, decay=0.9)
    for training in (spoilt, plain):
        for number in range(9):
            training.run(spoilt=training is spoilt and number == 3 + place)
        assert training.machine.violations == []
    assert spoilt.optimizer.counts.skipped == 1 and spoilt.optimizer.counts.applied == 2
    assert plain.optimizer.counts.applied == 3
    # the group after it is none the worse
    assert np.isfinite(spoilt.net.state_dict()["readout.weight"]).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_gradient_that_is_not_finite_skips_its_groups_step(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build()
    optimizer = Adam(net.device, net.parameters)
    step, real = TrainingStep(net, optimizer, 4, accumulate=3), Network.differentiate
    numbers = iter(range(6))

    def spoils(self: Network, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        if next(numbers) == place:
            self.parameters.gradients[7] = np.inf

    monkeypatch.setattr(Network, "differentiate", spoils)
    before = host(net.parameters.values).tobytes()
    take(step, [drawn(net, 4, seed) for seed in range(3)])
    assert (optimizer.counts.applied, optimizer.counts.skipped) == (0, 1)
    assert host(net.parameters.values).tobytes() == before
    take(step, [drawn(net, 4, seed) for seed in range(3)])
    assert (optimizer.counts.applied, optimizer.counts.skipped) == (1, 1)
    assert host(net.parameters.values).tobytes() != before


def test_run_without_a_batch_leaves_a_group_alone() -> None:
    net = build()
    step = TrainingStep(net, Adam(net.device, net.parameters), 4, accumulate=3)
    with pytest.raises(ValueError, match="there is no batch to work on"):
        step.run()
    step.send(*drawn(net, 4, 0))
    step.run()
    with pytest.raises(ValueError, match="a batch of 5 images was sent to a step for up to 4"):
        step.send(*drawn(net, 5, 0))
    assert step.has_begun
    step.drop()
    assert not step.has_begun


@pytest.mark.parametrize("accumulate", [0, -1, 1.5, "2", None, True])
def test_a_number_of_batches_that_is_none(accumulate: Any) -> None:
    net = build()
    with pytest.raises(UserError, match=r"^accumulate must be a whole number from 1"):
        TrainingStep(net, Adam(net.device, net.parameters), 4, accumulate=accumulate)


# As graphs


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("accumulate", [2, 3])
def test_replayed_steps_leave_the_bits_of_launched_ones(accumulate: int, order: tuple[str, ...]) -> None:
    replayed, launched = (
        Training(Machine(order), accumulate=accumulate, decay=0.9, capture=capture) for capture in (True, False)
    )
    for training in (replayed, launched):
        training.epochs()
        assert training.machine.violations == []
    assert replayed.step.graphs > 4 and launched.step.graphs == 0
    assert replayed.bits() == launched.bits()
    counts, groups = replayed.optimizer.counts, -(-len(BATCHES) // accumulate)
    assert (counts.applied, counts.skipped) == (EPOCHS * groups - 1, 1)


def test_a_graph_for_each_place_in_a_group() -> None:
    training = Training(accumulate=4)
    steps = training.steps(steps=12)
    # the first, those in between, the last
    assert training.step.graphs == 3
    first, between, other, last = (
        [(entry.name, entry.pointers, entry.scalars) for entry in step if entry.kind == "replay"] for step in steps[8:]
    )
    assert between == other
    assert [name for name, *_ in last].count("mean_gradients") == 1
    assert not {"adam", "mean_gradients"} & {name for name, *_ in first + between}
    assert first != between
