"""The images of an epoch: each once, or each class as often."""

import numpy as np
import pytest
from helpers.batches import labelled
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches
from ttfs_cupy.data.order import Order, order
from ttfs_cupy.data.seeds import Stream, generator
from ttfs_cupy.neuron.encoding import Encoder


@st.composite
def sets(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels of a set, some classes large, some without an image, and some of its members."""
    labels = np.array(draw(st.lists(st.sampled_from([0, 0, 0, 0, 0, 0, 1, 3, 8]), min_size=1, max_size=90)), np.int32)
    members = draw(st.lists(st.integers(0, len(labels) - 1), min_size=1, unique=True))
    return labels, np.array(members)


@given(sets(), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_a_plain_epoch_has_each_member_once_in_the_order_that_it_always_had(
    drawn: tuple[np.ndarray, np.ndarray], seed: int, epoch: int
) -> None:
    labels, members = drawn
    found = order(labels, members, seed, epoch)
    expected = members[generator(seed, Stream.ORDER, epoch).permutation(np.arange(len(members)))]
    assert found.images.tolist() == expected.tolist()
    assert found.images.dtype == found.occurrences.dtype == np.int32
    assert found.occurrences.tolist() == [0] * len(members)


def test_the_plain_order_is_the_one_that_earlier_versions_had() -> None:
    """As they drew it: bits of runs depend on it."""
    found = order(np.zeros(8, np.int32), np.arange(8), 3, 2)
    assert found.images.tolist() == [4, 6, 7, 1, 5, 3, 2, 0]


@given(sets(), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_a_balanced_epoch(drawn: tuple[np.ndarray, np.ndarray], seed: int, epoch: int) -> None:
    labels, members = drawn
    found = order(labels, members, seed, epoch, "balanced")
    images, occurrences = found
    assert images.dtype == occurrences.dtype == np.int32
    assert len(images) == len(occurrences) == len(members) and set(images.tolist()) <= set(members.tolist())
    present, sizes = np.unique(labels[members], return_counts=True)
    times = [int((labels[images] == label).sum()) for label in present]
    assert max(times) - min(times) <= 1 and sum(times) == len(members)
    seen: dict[int, int] = {}
    of_class = dict(zip(present.tolist(), sizes.tolist(), strict=True))
    for image, occurrence in zip(images.tolist(), occurrences.tolist(), strict=True):
        assert occurrence == seen.get(image, 0)
        if occurrence:
            # all of its class came as often before it comes again
            own = [one for one in members.tolist() if labels[one] == labels[image]]
            assert len(own) == of_class[labels[image]] and all(seen.get(one, 0) >= occurrence for one in own)
        seen[image] = occurrence + 1
    again = order(labels, members, seed, epoch, "balanced")
    assert (again.images == images).all() and (again.occurrences == occurrences).all()


def test_epochs_and_seeds_differ() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), (90, 9, 1))
    members = np.arange(100)
    found = [order(labels, members, seed, epoch, "balanced") for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({one.images.tobytes() for one in found}) == 3
    # of the large class another part each time, the places left over another class's, and no blocks of one class
    large = [set(one.images[labels[one.images] == 0].tolist()) for one in found]
    assert large[0] != large[1] and all(len(each) in (33, 34) for each in large)
    extra = {int(np.bincount(labels[order(labels, members, 0, e, "balanced").images]).argmax()) for e in range(40)}
    assert extra == {0, 1, 2}
    halves = np.bincount(labels[found[0].images[:50]], minlength=3)
    assert halves.min() > 8


def test_rounds_of_a_small_class_are_permutations_of_their_own() -> None:
    labels = np.repeat(np.arange(2, dtype=np.int32), (56, 4))
    found = order(labels, np.arange(60), 0, 0, "balanced")
    small = found.images[labels[found.images] == 1][:28].reshape(-1, 4)
    assert (np.sort(small, axis=1) == [56, 57, 58, 59]).all()
    assert len({tuple(row) for row in small.tolist()}) > 3


def test_an_epoch_of_nothing() -> None:
    for sampling in ("plain", "balanced"):
        assert order(np.zeros(0, np.int32), np.zeros(0, np.int64), 0, 0, sampling).images.shape == (0,)


def test_another_sampling_is_refused() -> None:
    with pytest.raises(UserError, match="sampling must be one of plain, balanced, not 'even'"):
        order(np.zeros(2, np.int32), np.arange(2), 0, 0, "even")


# In batches


def test_batches_of_a_balanced_epoch_are_its_order() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), (40, 8, 2))
    batches = Batches(labelled(labels), 16, encode=Encoder(), shuffle=True, sampling="balanced", seed=5)
    for epoch in range(2):
        expected: Order = order(labels, np.arange(50), 5, epoch, "balanced")
        found = list(batches.epoch(epoch))
        assert [len(batch.labels) for batch in found] == [16, 16, 16, 2]
        images = np.concatenate([np.rint(255 * batch.inputs[:, 0, 0, 0]) for batch in found])
        assert images.tolist() == expected.images.tolist()
        assert np.concatenate([batch.labels for batch in found]).tolist() == labels[expected.images].tolist()


def test_batches_refuse_what_is_no_sampling() -> None:
    images = labelled(np.zeros(4, np.int32))
    with pytest.raises(UserError, match="sampling must be one of plain, balanced, not null"):
        Batches(images, 2, encode=Encoder(), shuffle=True, sampling=None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="sampling balanced is of epochs in an order of their own: it needs shuffle=T"):
        Batches(images, 2, encode=Encoder(), sampling="balanced")
