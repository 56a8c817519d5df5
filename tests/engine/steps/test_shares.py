"""Ranks that share every batch: their gradients and counts add up to those of one rank."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.batches import pictures
from helpers.network_kinds import CLASSES, SHAPE, images, network
from helpers.ranks import OneOf, in_ranks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy import MixedLabels, build
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import WHOLE, Batches, ImageSet, Share, mixing
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.engine.loss import Totals, class_weights_on
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Sgd
from ttfs_cupy.engine.steps.evaluation import Evaluation, Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.ranks.group import ALONE, Group

needs_emulator = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
# relative, of each layer's gradient, in the norm
CLOSE = 1e-6
WEIGHTS = [0.2, 3.0, 1.0, 0.5, 7.0]

# A network's options, and what the loss is given: each clip, slope and readout, each kind of target
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"psp_slope": 1.0}, {}),
    "without slope, smoothed": ({"psp_slope": 0.0}, {"label_smoothing": 0.1}),
    "clipped early, weighted": ({"psp_slope": 0.7, "grad_clip": 0.3}, {"class_weights": WEIGHTS}),
    "clip separate, mixed": ({"psp_slope": 1.0, "clip": "separate", "grad_clip": 0.5}, {"mix": True}),
    "potentials, all at once": (
        {"psp_slope": 0.5, "t_win": 2.0, "initial_potential": True},
        {"mix": True, "label_smoothing": 0.2, "class_weights": WEIGHTS},
    ),
    "standardised": ({"psp_slope": 1.0, "normalization": "weight", "initial_potential": True}, {"mix": True}),
    "a readout that fires": ({"psp_slope": 0.3, "readout": "spike_times"}, {"class_weights": WEIGHTS}),
    "silent classes excluded": ({"psp_slope": 0.3, "readout": "spike_times", "silent": "excluded"}, {"mix": True}),
    "direct": ({"psp_slope": 1.0, "encoding": "direct"}, {"label_smoothing": 0.1}),
}


def targets(count: int, *, mix: bool) -> Any:
    draw = np.random.default_rng(count)
    labels, others = (draw.integers(0, CLASSES, count).astype(np.int32) for _ in range(2))
    return MixedLabels(labels, others, draw.random(count, np.float32)) if mix else labels


def part(labels: Any, place: slice) -> Any:
    if isinstance(labels, MixedLabels):
        return MixedLabels(*(array[place].copy() for array in labels.arrays))
    return labels[place].copy()


def place(share: Share, size: int) -> slice:
    return slice(share.first(size), share.first(size) + share.count(size))


def check_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, gradient in expected.items():
        assert np.linalg.norm(gradient) > 0, name
        difference = np.linalg.norm(found[name] - gradient.astype(np.float64))
        assert difference <= CLOSE * np.linalg.norm(gradient), name


def added_up(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """In float64."""
    return {name: np.sum([one[name] for one in parts], axis=0, dtype=np.float64) for name in parts[0]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 7, 3])
def test_the_ranks_gradients_add_up_to_one_ranks(kind: str, size: int) -> None:
    options, of_loss = KINDS[kind]
    net = network(**options)
    labels = targets(size, mix=of_loss.get("mix", False))
    weights = class_weights_on(net.device, of_loss.get("class_weights"), CLASSES)
    encoded = net.encode(images(size))
    net.plan(size, training=True)

    def gradients(share: Share) -> dict[str, np.ndarray]:
        own = place(share, size)
        given = (encoded[own].copy(), part(labels, own), of_loss.get("label_smoothing", 0.0), weights)
        net.differentiate(*given, None if share == WHOLE else size)
        return net.parameters.gradient_dict()

    whole, sums = gradients(WHOLE), net.loss.sums()
    for ranks in (2, 3, 4):
        net.loss.reset()
        shares = [Share(rank, ranks) for rank in range(ranks)]
        check_close(added_up([gradients(one) for one in shares if one.count(size)]), whole)
        # the mean loss is of what there is: nothing of it depends on the whole batch's size
        assert net.loss.sums() == pytest.approx(sums, rel=1e-12)


def test_vgg7s_gradients_add_up_in_every_layer() -> None:
    """Of a batch as one trains with: sums over thousands of tiles, of which standardised weights take much away."""
    size, draw = 128, np.random.default_rng(0)
    net = build("vgg7", (1, 28, 28), 10, CpuDevice(2), normalization="weight")
    # smooth, with an empty border, as pictures of things are
    smooth = np.repeat(np.repeat(draw.random((size, 1, 7, 7), np.float32), 4, axis=2), 4, axis=3)
    pictured = 0.7 * smooth + 0.3 * draw.random(smooth.shape, np.float32)
    pictured[:, :, :5] = 0
    encoded, labels = net.encode(pictured), draw.integers(0, 10, size).astype(np.int32)
    net.plan(size, training=True)

    def gradients(share: Share) -> dict[str, np.ndarray]:
        own = place(share, size)
        net.differentiate(encoded[own].copy(), labels[own].copy(), 0.1, None, size)
        return net.parameters.gradient_dict()

    whole = gradients(WHOLE)
    for ranks in (2, 4):
        check_close(added_up([gradients(Share(rank, ranks)) for rank in range(ranks)]), whole)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 2**32), st.booleans())
def test_a_rows_gradient_is_what_it_is_in_the_whole_batch(size: int, ranks: int, seed: int, mix: bool) -> None:
    """Bit by bit: only the sums over images are rounded otherwise."""
    net = network()
    net.plan(size, training=True)
    potentials = np.random.default_rng(seed).normal(0, 3, (size, CLASSES)).astype(np.float32)
    labels = targets(size, mix=mix)
    whole = net.loss.add(potentials, labels, 0.1 * mix).copy()
    assert net.loss.add(potentials, labels, 0.1 * mix, None, size).tobytes() == whole.tobytes()
    for rank in range(ranks):
        if Share(rank, ranks).count(size):
            own = place(Share(rank, ranks), size)
            given = (potentials[own].copy(), part(labels, own), 0.1 * mix, None, size)
            assert net.loss.add(*given).tobytes() == whole[own].tobytes()


def test_a_whole_batch_of_fewer_images_than_are_here() -> None:
    net = network()
    inputs, labels = net.encode(images(4)), targets(4, mix=False)
    step = TrainingStep(net, Sgd(net.device, net.parameters), 4)
    before = net.parameters.values.tobytes()
    for wrong in (3, 0, -1, 4.5, "4"):
        for call in (
            lambda: net.differentiate(inputs, labels, images=wrong),  # noqa: B023
            lambda: step.send(inputs, labels, wrong),  # noqa: B023
        ):
            with pytest.raises(UserError, match="images, those of the whole batch, must be a whole number from 4, not"):
                call()
    with pytest.raises(ValueError, match="there is no batch"):
        step.run()
    assert net.parameters.values.tobytes() == before


# Steps


def image_set(count: int) -> ImageSet:
    found = pictures(count, (*SHAPE[1:], SHAPE[0]))
    return ImageSet(found.images, found.labels % CLASSES)


def of_groups(
    net: Network, share: Share, size: int, count: int, accumulate: int, epoch: int
) -> list[dict[str, np.ndarray]]:
    """The mean gradient of each group of an epoch, of weights that no step moves far."""
    optimizer = Sgd(net.device, net.parameters, 1e-30)
    options: dict[str, Any] = {"shuffle": True, "augment": "crop_flip", "mix": mixing("both"), "share": share}
    batches = Batches(image_set(count), size, encode=net.encoder, **options)
    step = TrainingStep(net, optimizer, share.most(size), accumulate=accumulate, label_smoothing=0.1)
    found, images_seen = [], 0
    for number, in_batch in enumerate(step.each(batches, epoch), 1):
        step.run()
        images_seen += in_batch
        if number == len(batches):
            step.flush()
        if not step.has_begun:
            found.append(net.parameters.gradient_dict())
    assert images_seen == count and optimizer.counts.applied == len(found)
    return found


@pytest.mark.parametrize(
    ("size", "count", "accumulate"), [(8, 20, 1), (8, 20, 2), (8, 17, 3), (5, 21, 4), (4, 9, 1)], ids=str
)
@pytest.mark.parametrize("kind", ["potentials, all at once", "standardised"])
def test_groups_of_batches_and_a_smaller_last_one(kind: str, size: int, count: int, accumulate: int) -> None:
    """Of 1, 2 and 4 shares, also where the last batch has fewer images than ranks; each rank plans for its own."""
    options, _ = KINDS[kind]
    whole = of_groups(network(**options), WHOLE, size, count, accumulate, 1)
    for ranks in (2, 4):
        nets = [network(**options) for _ in range(ranks)]
        shares = [Share(rank, ranks) for rank in range(ranks)]
        parts = [of_groups(net, share, size, count, accumulate, 1) for net, share in zip(nets, shares, strict=True)]
        assert max(net.planned.batch_size for net in nets if net.planned is not None) == shares[0].most(size)
        for number, expected in enumerate(whole):
            check_close(added_up([of_rank[number] for of_rank in parts]), expected)


DEVICES: dict[str, Callable[[], Any]] = {"cpu": lambda: CpuDevice(1), "stand-in": lambda: device_of(Machine())}


@pytest.mark.parametrize("device", ["cpu", pytest.param("stand-in", marks=needs_emulator)])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_rank_without_images_adds_nothing(device: str, accumulate: int) -> None:
    """Nor has it the gradient of a batch before."""
    net = build([6, {"linear": 5}], SHAPE, CLASSES, DEVICES[device]())
    optimizer = Sgd(net.device, net.parameters, 0.1)
    step = TrainingStep(net, optimizer, 1, accumulate=accumulate)
    # of 4 batches of 5 and 1 image the second rank of 5 has one, and none of the last
    batches = Batches(image_set(21), 5, encode=net.encoder, share=Share(1, 5))
    for epoch in range(3):
        for number, _ in enumerate(step.each(batches, epoch)):
            if number == 4:
                step.drop()
                before, sums = net.state_dict(), net.loss.sums()
            step.run()
        assert all((values == before[name]).all() for name, values in net.state_dict().items())
        assert net.loss.sums() == sums and not any(values.any() for values in net.parameters.gradient_dict().values())
        step.drop()
    assert sums[2] == 12 and optimizer.counts.skipped == 0
    assert optimizer.counts.applied == (15 if accumulate == 1 else 6)
    # of the last batch that there was here
    assert all(len(times) == 1 for times in net.spike_times().values())


@needs_emulator
@pytest.mark.parametrize("accumulate", [1, 2])
def test_whole_batches_of_several_sizes_have_graphs_of_their_own(accumulate: int) -> None:
    """The images that a mean is of are a part of what is recorded."""
    bits = []
    for capture in (True, False):
        machine = Machine()
        net = build([6, {"linear": 5}], SHAPE, CLASSES, device_of(machine))
        step = TrainingStep(net, Adam(net.device, net.parameters), 4, capture=capture, accumulate=accumulate)
        inputs, labels = net.device.to_host(net.encode(images(4))), targets(4, mix=False)
        for rows, whole in 4 * ((4, 4), (4, 8), (4, None), (3, 8), (3, 4)):
            step.send(inputs[:rows], labels[:rows], whole)
            step.run()
        assert machine.violations == []
        assert (step.graphs > 3) == capture
        bits.append(net.device.to_host(net.parameters.values).tobytes())
    assert bits[0] == bits[1]


@needs_emulator
def test_steps_on_a_gpu_have_the_gradients_of_kernel_by_kernel() -> None:
    for rank in range(3):
        found = []
        for capture in (True, False):
            machine = Machine()
            net = build([6, "P", {"linear": 5}], SHAPE, CLASSES, device_of(machine))
            step = TrainingStep(net, Adam(net.device, net.parameters), 3, capture=capture, accumulate=2)
            options: dict[str, Any] = {"shuffle": True, "augment": "crop_flip", "mix": mixing("both"), "resident": 0.0}
            batches = Batches(image_set(20), 7, encode=net.encoder, share=Share(rank, 3), **options)
            for epoch in range(4):
                for _ in step.each(batches, epoch, 1 if epoch == 2 else 0):
                    step.run()
                step.flush()
            assert machine.violations == []
            found.append(net.device.to_host(net.parameters.values).tobytes())
        assert found[0] == found[1]


@pytest.mark.parametrize("device", ["cpu", pytest.param("stand-in", marks=needs_emulator)])
@pytest.mark.parametrize("first", [0, 2, 3, 4])
def test_an_epoch_that_is_begun_in_its_middle(device: str, first: int) -> None:
    """What the ranks see from a batch on is what one sees."""

    def seen(share: Share) -> np.ndarray:
        net = build([6], SHAPE, CLASSES, DEVICES[device]())
        step = Evaluator(net, 6)
        options: dict[str, Any] = {"shuffle": True, "augment": "crop_flip", "mix": mixing("both"), "share": share}
        batches = Batches(image_set(20), 6, encode=net.encoder, **options)
        assert sum(1 for _ in run(step, step.each(batches, 3, first))) == 4 - first
        return np.array(net.loss.sums())

    whole = seen(WHOLE)
    assert whole[2] == max(0, 20 - 6 * first)
    for ranks in (2, 3, 8):
        parts = sum(seen(Share(rank, ranks)) for rank in range(ranks))
        assert parts == pytest.approx(whole, rel=1e-14 if device == "cpu" else 1e-6, abs=0)


def run(step: Evaluator, made: Iterator[int]) -> Iterator[int]:
    for in_batch in made:
        step.run()
        yield in_batch


# Evaluations


def evaluated(net: Network, count: int, size: int, group: Group = ALONE) -> Evaluation:
    share = Share(group.rank, group.size)
    batches = Batches(image_set(count), size, encode=net.encoder, share=share)
    evaluator = Evaluator(net, share.most(size), spike_times=True, group=group)
    first = evaluator.over(batches, "")
    assert_same(evaluator.over(batches, ""), first)
    return first


def assert_same(one: Evaluation, other: Evaluation) -> None:
    for name, counts in (one.spike_times or {}).items():
        assert other.spike_times is not None and np.array_equal(counts, other.spike_times[name])
    assert replace(one, spike_times=None) == replace(other, spike_times=None)


@pytest.mark.parametrize("device", ["cpu", pytest.param("stand-in", marks=needs_emulator)])
@pytest.mark.parametrize(("ranks", "count", "size"), [(2, 20, 8), (4, 21, 10), (3, 19, 6), (5, 7, 3)])
def test_an_evaluation_is_that_of_one_rank_at_all_of_them(device: str, ranks: int, count: int, size: int) -> None:
    """But for the order in which losses are added, and on a GPU for products that round by their size; also of batches
    of fewer images than ranks."""

    def fresh() -> Network:
        return build([6, "P", {"linear": 5}], SHAPE, CLASSES, DEVICES[device](), psp_slope=0.5)

    alone = evaluated(fresh(), count, size)
    found = in_ranks(ranks, lambda group: evaluated(fresh(), count, size, group))
    for one in found:
        assert_same(one, found[0])
    loss = found[0].totals.loss
    assert loss == pytest.approx(alone.totals.loss, rel=1e-14 if device == "cpu" else 1e-6, abs=0)
    assert_same(replace(found[0], totals=replace(found[0].totals, loss=alone.totals.loss)), alone)
    assert alone.totals.images == count and sum(alone.classes.images) == count


def test_a_loss_that_is_not_finite_at_one_rank_alone_is_so_at_all() -> None:
    """The mean is NaN, as with one rank; accuracy and counts are of all images."""
    pixels = np.zeros((8, *SHAPE[1:], SHAPE[0]), np.uint8)
    pixels[7] = 255
    given = ImageSet(pixels, np.zeros(8, np.int32))

    def over(group: Group = ALONE) -> Evaluation:
        net = build([{"linear": 5}], SHAPE, CLASSES, CpuDevice(1))
        net.load_state_dict({name: np.full_like(values, 3e38) for name, values in net.state_dict().items()})
        batches = Batches(given, 4, encode=net.encoder, share=Share(group.rank, group.size))
        return Evaluator(net, 4, group=group).over(batches, "")

    alone, (one, other) = over(), in_ranks(2, over)
    assert np.isnan(alone.totals.loss) and np.isnan(one.totals.loss) and np.isnan(other.totals.loss)
    for totals in (one.totals, other.totals):
        assert (totals.accuracy, totals.images) == (alone.totals.accuracy, 8)
        assert totals.not_finite == alone.totals.not_finite == 1
    assert one.classes == other.classes == alone.classes and one.firing_rates == alone.firing_rates


def test_sums_of_parts_are_those_of_finite_parts() -> None:
    finite, spoilt = [3.0, 2.0, 4.0, 0.0, 0.0, 0.0], [1.5, 1.0, 2.0, 1.0, 3.0, 1.0]
    sums = np.add(finite, spoilt).tolist()
    assert Totals.of_finite(sums) == Totals(0.75, 0.5, 6, 1)
    whole = Totals.of_all(sums)
    assert np.isnan(whole.loss) and replace(whole, loss=0.0) == Totals(0.0, 4 / 9, 9, 1)


@pytest.mark.parametrize(("rank", "share"), [(None, Share(0, 2)), (0, WHOLE), (0, Share(1, 2)), (1, Share(0, 3))])
def test_batches_that_are_not_shared_as_the_group_is(rank: int | None, share: Share) -> None:
    net = build([{"linear": 5}], SHAPE, CLASSES, CpuDevice(1))
    batches = Batches(image_set(8), 4, encode=net.encoder, share=share)
    # no rank exchanges anything
    evaluator = Evaluator(net, 4, group=ALONE if rank is None else OneOf(rank, 2))
    wanted = Share(0, 1) if rank is None else Share(rank, 2)
    with pytest.raises(ValueError) as caught:
        evaluator.over(batches, "")
    assert str(caught.value) == f"batches must be of {wanted}, as the evaluator's group is, not of {share}"
