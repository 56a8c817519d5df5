"""A rank's share of every batch: all ranks' together are the batch that one rank makes, bit by bit."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from emulator import why_not
from helpers.batches import PIXELS, Epoch, cpu, lists_of_operations, made, numbered, pictures
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import MIXES, WHOLE, Batches, ImageSet, Share, augmentation, mixing, pixels
from ttfs_cupy.data.production import Production
from ttfs_cupy.device import Device

needs_emulator = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
RANKS = (1, 2, 3, 4, 8)


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 40))
def test_shares_are_a_batch_in_its_order_as_even_as_can_be(size: int, ranks: int) -> None:
    shares = [Share(rank, ranks) for rank in range(ranks)]
    places = [range(one.first(size), one.first(size) + one.count(size)) for one in shares]
    assert [place for part in places for place in part] == list(range(size))
    counts = [one.count(size) for one in shares]
    assert max(counts) - min(counts) <= 1 and counts == sorted(counts, reverse=True)
    assert {one.most(size) for one in shares} == {max(counts)}


@pytest.mark.parametrize(("rank", "ranks"), [(-1, 2), (2, 2), (0, 0), (0.5, 2), (0, "2")])
def test_a_share_that_is_none(rank: Any, ranks: Any) -> None:
    with pytest.raises(UserError, match="rank"):
        Share(rank, ranks)


def together(of: Callable[[Share], Batches], ranks: int, epoch: int, device: Device | None = None) -> Epoch:
    """All ranks' images, batch after batch. Each rank's are as many as its share says."""
    shared = [of(Share(rank, ranks)) for rank in range(ranks)]
    epochs = [made(batches, epoch, device) for batches in shared]
    sizes = [shared[0].size(number) for number in range(len(shared[0]))]
    counts = [[batches.share.count(size) for size in sizes] for batches in shared]
    assert [len(one.labels) for one in epochs] == list(map(sum, counts))
    parts = [np.cumsum([0, *of_rank]) for of_rank in counts]
    arrays = []
    for each in zip(*epochs, strict=True):
        in_order = [
            array[ends[number] : ends[number + 1]]
            for number in range(len(sizes))
            for array, ends in zip(each, parts, strict=True)
        ]
        arrays.append(np.concatenate(in_order))
    return Epoch(*arrays)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_batches(data: st.DataObject) -> None:
    """Also of fewer images than ranks."""
    count, channels = data.draw(st.integers(1, 40)), data.draw(st.sampled_from([1, 2, 3]))
    found = pictures(count, (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)), channels))
    images = ImageSet(found.images, found.labels % data.draw(st.integers(1, 6)))
    sampling = data.draw(st.sampled_from(["plain", "balanced"]))
    options: dict[str, Any] = {
        "encode": PIXELS,
        "seed": data.draw(st.integers(0, 2**64 - 1)),
        "shuffle": sampling == "balanced" or data.draw(st.booleans()),
        "sampling": sampling,
        "augment": augmentation(data.draw(st.none() | lists_of_operations(channels)) or "none"),
        "mix": mixing(data.draw(st.sampled_from(MIXES)), 0.7),
        "members": data.draw(
            st.none() | st.permutations(range(count)).map(lambda order: np.array(order[: count // 2 + 1]))
        ),
    }
    members = count if options["members"] is None else len(options["members"])
    size, epoch, ranks = (
        data.draw(st.integers(1, members)),
        data.draw(st.integers(0, 5)),
        data.draw(st.sampled_from(RANKS)),
    )
    whole = made(Batches(images, size, **options), epoch)
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):
            # streamed, as a set that is larger than kernels count
            patch.setattr(pixels, "MAX_ELEMENTS", 1)
        shared = together(lambda share: Batches(images, size, share=share, **options), ranks, epoch)
    assert shared.bits() == whole.bits()


@needs_emulator
@pytest.mark.parametrize("resident", [0.0, 1.0])
@pytest.mark.parametrize("ranks", [2, 8])
def test_on_a_gpu_that_holds_the_set_and_one_that_is_sent_batches(ranks: int, resident: float) -> None:
    images = pictures(27, (10, 12, 3))
    options: dict[str, Any] = {"encode": PIXELS, "shuffle": True, "augment": "cifar", "mix": mixing("both"), "seed": 5}
    whole = made(Batches(images, 6, **options), 2)
    machine = Machine()
    shared = together(
        lambda share: Batches(images, 6, share=share, resident=resident, **options), ranks, 2, device_of(machine)
    )
    assert shared.bits() == whole.bits() and machine.violations == []


@pytest.mark.parametrize("ranks", [2, 3, 8])
def test_of_some_batches_of_an_epoch(ranks: int) -> None:
    options: dict[str, Any] = {"encode": PIXELS, "shuffle": True, "augment": "crop_flip"}
    images, only = pictures(27, (8, 8, 1)), (1, 3, 6)
    whole = list(Batches(images, 4, **options).epoch(1, only=only))
    of_ranks = [
        list(Batches(images, 4, share=Share(rank, ranks), **options).epoch(1, only=only)) for rank in range(ranks)
    ]
    for batch, *parts in zip(whole, *of_ranks, strict=True):
        assert np.array_equal(np.concatenate([part.inputs for part in parts]), batch.inputs)
        assert np.array_equal(np.concatenate([part.labels for part in parts]), batch.labels)


def test_of_no_images_nothing_is_launched_but_the_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"encode": PIXELS, "augment": "cifar", "mix": mixing("both")}
    production = Production(Batches(pictures(7, (8, 8, 3)), 5, share=Share(3, 4), **options), cpu())
    launched: list[str] = []
    real = cpu().launch
    monkeypatch.setattr(
        cpu(), "launch", lambda kernel, *rest, **how: launched.append(kernel) or real(kernel, *rest, **how)
    )
    production.begin(0)
    sizes = []
    for number in range(2):
        production.send(number)
        production.take()
        launched.clear()
        inputs, labels = production.make(5 - 3 * number)
        sizes.append((len(inputs), len(labels)))
    assert sizes == [(1, 1), (0, 0)] and launched == ["end_batch"] * 2
    assert production._progress[0] == 7


def test_sizes_and_labels_are_of_whole_batches() -> None:
    whole, part = (Batches(numbered(23), 5, encode=PIXELS, share=share) for share in (WHOLE, Share(1, 3)))
    assert [part.size(number) for number in range(len(part))] == [whole.size(number) for number in range(len(whole))]
    assert np.array_equal(part.labels, whole.labels) and part.share == Share(1, 3) and whole.share == Share(0, 1)


def test_what_cannot_be_shared() -> None:
    def change(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        return images

    Batches(numbered(9), 3, encode=PIXELS, augment=change, share=Share(0, 1))
    with pytest.raises(UserError, match="a function of your own as augment is given whole batches, and several ranks"):
        Batches(numbered(9), 3, encode=PIXELS, augment=change, share=Share(0, 2))
    with pytest.raises(TypeError, match="share must be of type Share, not tuple"):
        Batches(numbered(9), 3, encode=PIXELS, share=(0, 2))  # type: ignore[arg-type]
