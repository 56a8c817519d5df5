"""What epochs make of a few images: which images those are, and that they are the batches' own."""

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.batches import cpu
from helpers.datasets_on_disk import separable
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, ImageSet, MixedLabels, mixing
from ttfs_cupy.data.examples import available, chosen, in_epoch
from ttfs_cupy.data.order import Order
from ttfs_cupy.neuron.encoding import Encoder


def batches(labels: list[int], seed: int = 0) -> Batches:
    images = ImageSet(np.zeros((len(labels), 2, 2, 1), np.uint8), np.array(labels, np.int32))
    return Batches(images, 1, encode=Encoder(), shuffle=True, seed=seed)


def mixed(batch_size: int = 4, members: "np.ndarray | None" = None) -> Batches:
    images, labels = separable(30, (8, 8, 3), 5)
    whole = ImageSet(images, labels.astype(np.int32))
    options = {"members": members, "shuffle": True, "seed": 3, "augment": "cifar", "mix": mixing("both")}
    return Batches(whole, batch_size, encode=Encoder(), **options)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(0, 5), st.data())
def test_images_are_spread_over_the_classes(labels: list[int], seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(labels)))
    found = chosen(batches(labels, seed), count)
    assert len(set(found.tolist())) == count
    classes = np.array(labels)[found]
    assert (np.diff(classes) >= 0).all()
    shown, there = np.bincount(classes, minlength=7), np.bincount(labels, minlength=7)
    # whoever has fewer than another has no more to show, or is one behind
    assert all(shown[c] == there[c] or shown[c] >= shown.max() - 1 for c in range(7))


def test_fewer_images_than_classes_come_from_all_over_them() -> None:
    labels = [label for label in range(10) for _ in range(3)]
    assert np.array(labels)[chosen(batches(labels), 5)].tolist() == [0, 2, 4, 6, 8]
    assert np.array(labels)[chosen(batches(labels), 12)].tolist() == [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9]


def test_the_seed_draws_them_and_a_smaller_number_is_a_part() -> None:
    labels = [0, 1] * 20
    one, other = chosen(batches(labels, 0), 10), chosen(batches(labels, 1), 10)
    assert one.tolist() == chosen(batches(labels, 0), 10).tolist() != other.tolist()
    assert set(chosen(batches(labels, 0), 4).tolist()) < set(one.tolist())


def test_more_images_than_there_are() -> None:
    with pytest.raises(UserError, match="there are 3 training images, fewer than the 4 that are to be shown"):
        chosen(batches([0, 1, 1]), 4)


@pytest.mark.parametrize("epoch", [0, 2])
def test_they_are_what_the_batches_hold(epoch: int) -> None:
    made = mixed(members=np.arange(3, 29))
    images = np.array([28, 3, 17, 9])
    order = made.order(epoch).images.tolist()
    whole = [*made.epoch(epoch, cpu())]
    for image, example in zip(images, in_epoch(made, images, epoch, cpu()), strict=True):
        number, row = divmod(order.index(image), made.batch_size)
        labels = whole[number].labels
        assert isinstance(labels, MixedLabels) and example is not None
        assert np.array_equal(example.inputs, whole[number].inputs[row])
        assert (example.label, example.other, example.share) == tuple(array[row] for array in labels.arrays)
        assert example.label == made.images.labels[image]


def test_an_image_that_comes_twice_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made = batches([0, 1, 0, 1])
    order = Order(np.array([2, 1, 2, 0], np.int32), np.array([0, 0, 1, 0], np.int32))
    monkeypatch.setattr(made, "order", lambda epoch: order)
    assert available(made) == 3 and 3 not in chosen(made, 3)
    missing, twice = in_epoch(made, np.array([3, 2]), 0, cpu())
    assert missing is None
    assert twice is not None and (twice.label, twice.other, twice.share) == (0, 0, 1)


@pytest.mark.parametrize("where", ["cpu", "gpu"])
@pytest.mark.parametrize("only", [[], [0], [7], [6, 2, 2], range(8)])
def test_some_batches_of_an_epoch_are_those_of_the_whole_one(only: list[int], where: str) -> None:
    made, device = mixed(), cpu() if where == "cpu" else device_of(Machine())
    whole, some = [*made.epoch(1, cpu())], [*made.epoch(1, device, only)]
    assert len(whole) == 8 and len(some) == len({*only})
    for number, batch in zip(sorted({*only}), some, strict=True):
        assert np.array_equal(device.to_host(batch.inputs), whole[number].inputs)
        labels = (batch.labels, whole[number].labels)
        assert isinstance(labels[0], MixedLabels) and isinstance(labels[1], MixedLabels)
        assert all(map(np.array_equal, map(device.to_host, labels[0].arrays), labels[1].arrays))


@pytest.mark.parametrize("only", [[8], [-1], [0, 0.5]])
def test_batches_that_an_epoch_does_not_have(only: list[int]) -> None:
    with pytest.raises(UserError, match="a batch's number must be"):
        mixed().epoch(0, cpu(), only)
