"""Batches: which images, in which order, encoded how; and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.batches import PIXELS, made, numbered, pictures

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, Dataset, ImageSet, MixedLabels, augmentation, mixing
from ttfs_cupy.data.augmentation import RandomHorizontalFlip
from ttfs_cupy.data.augmentation.program import MOST_PIXELS
from ttfs_cupy.data.production import parts_of
from ttfs_cupy.neuron.encoding import Encoder


def labels_of(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(label) for batch in batches.epoch(epoch) for label in batch.labels]  # type: ignore[union-attr]


def test_every_image_once_in_order_with_its_label() -> None:
    batches = Batches(numbered(23), 5, encode=PIXELS)
    found = list(batches.epoch(0))
    assert len(batches) == len(found) == 5
    assert [len(batch.labels) for batch in found] == [batches.size(number) for number in range(5)] == [5, 5, 5, 5, 3]
    assert labels_of(batches) == batches.labels.tolist() == list(range(23))
    for inputs, labels in found:
        assert inputs.dtype == np.float32 and inputs.flags.c_contiguous and labels.dtype == np.int32
        assert inputs.shape == (len(labels), 4, 4, 1)
        assert np.array_equal(
            inputs, np.broadcast_to(labels[:, None, None, None].astype(np.float32) / np.float32(255), inputs.shape)
        )


def test_a_count_that_divides_leaves_no_empty_batch() -> None:
    for size in (1, 5, 20):
        batches = Batches(numbered(20), size, encode=PIXELS)
        assert [len(batch.labels) for batch in batches.epoch(0)] == [size] * len(batches) == [size] * (20 // size)


@pytest.mark.parametrize(
    "options", [{}, {"augment": "crop_flip"}, {"mix": mixing("mixup")}, {"augment": lambda x, _: x}]
)
def test_each_batch_has_arrays_of_its_own(options: dict[str, Any]) -> None:
    batches = Batches(numbered(20), 5, encode=PIXELS, **options)
    arrays, copies = [], []
    for inputs, labels in batches.epoch(0):
        arrays += [inputs, *(labels.arrays if isinstance(labels, MixedLabels) else [labels])]
        copies += [array.copy() for array in arrays[len(copies) :]]
    assert all(map(np.array_equal, arrays, copies))
    assert not any(np.shares_memory(one, other) for n, one in enumerate(arrays) for other in arrays[:n])


def test_shuffles_anew_every_epoch_by_the_seed_alone() -> None:
    batches = Batches(numbered(100), 7, encode=PIXELS, shuffle=True, seed=3)
    first, second = labels_of(batches, 0), labels_of(batches, 1)
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != list(range(100)) and first != second
    assert labels_of(batches, 0) == first == batches.order(0).images.tolist()
    assert labels_of(Batches(numbered(100), 7, encode=PIXELS, shuffle=True, seed=4)) != first
    # another size of batches cuts the same order differently, whatever is done to the images
    options: dict[str, Any] = {"encode": Encoder("direct"), "augment": "cifar", "mix": None}
    assert labels_of(Batches(numbered(100), 30, shuffle=True, seed=3, **options)) == first
    assert (
        made(Batches(numbered(100), 30, shuffle=True, seed=3, **options | {"mix": mixing("both")})).labels.tolist()
        == first
    )


def test_seeds_reach_up_to_64_bits() -> None:
    seeds = (0, 1, 2**32, 2**32 + 1, 2**63, 2**64 - 1)
    found = [made(Batches(pictures(30, (8, 8, 1)), 8, encode=PIXELS, seed=seed, augment="crop_flip")) for seed in seeds]
    assert len({one.inputs.tobytes() for one in found}) == len(seeds)


def test_two_epochs_at_once_do_not_disturb_each_other() -> None:
    batches = Batches(pictures(50, (8, 8, 1)), 5, encode=PIXELS, shuffle=True, augment="crop_flip", mix=mixing("both"))
    pairs = list(zip(batches.epoch(0), batches.epoch(1), strict=True))
    for epoch in (0, 1):
        together = [np.concatenate([np.asarray(pair[epoch].inputs) for pair in pairs])]
        for name in ("labels", "others", "shares"):
            together.append(np.concatenate([getattr(pair[epoch].labels, name) for pair in pairs]))
        assert tuple(array.tobytes() for array in together) == made(batches, epoch).bits()


def shaken(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.roll(images, int(draw.integers(8)), axis=2)


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix", "both"])
@pytest.mark.parametrize("augment", ["crop_flip", "cifar", shaken])
def test_a_resumed_run_sees_the_same_bits(augment: Any, mix: str) -> None:
    options: dict[str, Any] = {"shuffle": True, "seed": 9, "augment": augment, "mix": mixing(mix, 0.4)}
    straight = Batches(pictures(40, (16, 12, 3)), 16, encode=PIXELS, **options)
    epochs = [made(straight, epoch).by_label() for epoch in range(3)]
    resumed = Batches(pictures(40, (16, 12, 3)), 16, encode=PIXELS, **options)
    assert made(resumed, 2).by_label().bits() == epochs[2].bits()
    assert not np.array_equal(epochs[0].inputs, epochs[1].inputs)


def test_an_epoch_that_was_broken_off_leaves_nothing_behind() -> None:
    batches = Batches(pictures(40, (8, 8, 1)), 16, encode=PIXELS, shuffle=True, augment="crop_flip", mix=mixing("both"))
    whole = made(batches, 1).bits()
    next(batches.epoch(0))
    for batch in batches.epoch(1):
        assert len(batch.labels) == 16
        break
    assert made(batches, 1).bits() == whole


def test_members_alone_are_taken_and_are_what_they_are_in_the_whole_set() -> None:
    images, members = pictures(60, (8, 8, 1)), np.array([50, 3, 4, 17, 59, 0])
    options: dict[str, Any] = {"encode": PIXELS, "augment": "crop_flip", "seed": 5}
    whole = made(Batches(images, 60, **options), 2)
    some = Batches(images, 4, members=members, **options)
    assert len(some) == 2 and some.labels.tolist() == members.tolist()
    found = made(some, 2)
    assert found.labels.tolist() == members.tolist()
    assert np.array_equal(found.inputs, whole.inputs[members])
    shuffled = made(Batches(images, 4, members=members, shuffle=True, **options), 2)
    assert shuffled.labels.tolist() != members.tolist()
    assert np.array_equal(shuffled.by_label().inputs, whole.inputs[np.sort(members)])
    mixed = made(Batches(images, 4, members=members, mix=mixing("mixup"), **options))
    assert set(mixed.others.tolist()) <= set(members.tolist())


STATISTICS = (np.array([0.1, 0.5, 0.47], np.float32), np.array([0.3, 0.25, 0.9], np.float32))
ENCODERS = {
    "latency": Encoder(),
    "a window": Encoder(t_win=3.7),
    "standardised": Encoder("latency", 1.3, True, *STATISTICS),
    "direct": Encoder("direct", 2.0, False, *STATISTICS),
    "direct without statistics": Encoder("direct"),
}


@pytest.mark.parametrize("maximum", [255, 16, 1])
@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS.keys())
def test_inputs_are_the_encoders_own_bit_for_bit(encoder: Encoder, maximum: int) -> None:
    given = pictures(40, (9, 7, 3), maximum)
    pixels = given.images.copy()
    # all levels, in every channel
    pixels[:5].reshape(-1, 3)[: maximum + 1] = np.arange(maximum + 1, dtype=np.uint8)[:, None]
    images = ImageSet(pixels, given.labels, maximum)
    expected = encoder(images.images.astype(np.float32) / np.float32(maximum))
    for change in (None, lambda given, _: given):
        found = made(Batches(images, 16, encode=encoder, augment=change))
        assert found.inputs.dtype == expected.dtype and found.inputs.tobytes() == expected.tobytes()


# A user's own function


def test_a_function_is_given_a_batch_and_numbers_of_its_own() -> None:
    seen: list[tuple[np.ndarray, float]] = []

    def augment(images: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        seen.append((images.copy(), draw.random()))
        return 255 - images

    batches = Batches(numbered(23), 5, encode=PIXELS, augment=augment, shuffle=True, seed=1)
    epochs = {epoch: made(batches, epoch) for epoch in (0, 1)}
    assert made(batches, 0).bits() == epochs[0].bits()
    assert [len(images) for images, _ in seen] == [5, 5, 5, 5, 3] * 3
    assert all(images.dtype == np.uint8 and images.shape[1:] == (4, 4, 1) for images, _ in seen)
    given = np.concatenate([images for images, _ in seen[:5]])
    assert given[:, 0, 0, 0].tolist() == epochs[0].labels.tolist() == batches.order(0).images.tolist()
    assert np.array_equal(epochs[0].inputs, (255 - given) / np.float32(255))
    drawn = [number for _, number in seen]
    assert len(set(drawn)) == 10 and drawn[:5] == drawn[10:]
    seen.clear()
    made(Batches(numbered(23), 5, encode=PIXELS, augment=augment, shuffle=True, seed=2))
    assert not {number for _, number in seen} & set(drawn)


def test_a_function_may_change_what_it_is_given_in_place() -> None:
    def augment(images: np.ndarray, _: np.random.Generator) -> np.ndarray:
        images[:] = 7
        return images

    images = numbered(20)
    before = images.images.copy()
    assert np.array_equal(
        made(Batches(images, 5, encode=PIXELS, augment=augment)).inputs * 255, np.full((20, 4, 4, 1), 7)
    )
    assert np.array_equal(images.images, before)


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "nothing": (lambda images, _: None, r"uint8 \(5, 4, 4, 1\), not NoneType"),
    "a list": (lambda images, _: images.tolist(), r"uint8 \(5, 4, 4, 1\), not list"),
    "floats": (lambda images, _: images / 255, r"uint8 \(5, 4, 4, 1\), not float64 \(5, 4, 4, 1\)"),
    "fewer": (lambda images, _: images[1:], r"not uint8 \(4, 4, 4, 1\)"),
    "others": (lambda images, _: images[:, :2], r"not uint8 \(5, 2, 4, 1\)"),
    "brighter": (lambda images, _: images + np.uint8(1), r"augment must return pixels of 0\.\.16, not 17"),
}


@pytest.mark.parametrize(("augment", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_a_function_returns_is_checked(augment: Callable[..., Any], message: str) -> None:
    batches = Batches(numbered(17, 16), 5, encode=PIXELS, augment=augment)
    with pytest.raises(UserError, match=message):
        made(batches)


def test_an_exception_of_a_function_reaches_the_caller() -> None:
    def augment(images: np.ndarray, _: np.random.Generator) -> np.ndarray:
        if images.max() > 10:
            raise ZeroDivisionError("the third batch is bad")
        return images

    seen = []
    with pytest.raises(ZeroDivisionError, match="the third batch is bad"):
        for batch in Batches(numbered(50), 5, encode=PIXELS, augment=augment).epoch(0):
            seen.append(int(batch.labels[0]))  # type: ignore[index]
    assert seen == [0, 5]


def test_what_a_function_returns_may_be_any_view() -> None:
    batches = Batches(pictures(20, (6, 6, 2)), 5, encode=PIXELS, augment=lambda given, _: given.swapaxes(1, 2)[:, ::-1])
    expected = pictures(20, (6, 6, 2)).images.swapaxes(1, 2)[:, ::-1]
    assert np.array_equal(made(batches).inputs, expected / np.float32(255))


# What is refused


@pytest.mark.parametrize(
    ("count", "size", "options", "message"),
    [
        (10, 11, {}, "a batch of 11 is larger than the data, 10 images"),
        (10, 5, {"members": [1, 2]}, "a batch of 5 is larger than the data, 2 images"),
        (10, 0, {}, "batch_size must be a whole number from 1, not 0"),
        (10, 2.0, {}, "batch_size must be a whole number from 1, not 2.0"),
        (0, 1, {}, "a batch of 1 is larger than the data, 0 images"),
        (10, 5, {"seed": -2}, "seed must be a whole number from 0, not -2"),
        (10, 5, {"seed": 2**64}, "seed must be at most 18446744073709551615, not 18446744073709551616"),
        (10, 5, {"seed": 1.0}, "seed must be a whole number from 0, not 1.0"),
        (10, 5, {"shuffle": 1}, "shuffle must be true or false, not 1"),
        (10, 5, {"resident": 1.5}, "resident must be a number from 0 to 1, not 1.5"),
        (10, 5, {"resident": np.nan}, "resident must be a number from 0 to 1, not nan"),
        (10, 5, {"members": [0, 1, 2, 3, 4, 10]}, "indices must lie in 0 to 9"),
        (10, 5, {"members": [-1, 1, 2, 3, 4]}, "indices must lie in 0 to 9"),
        (10, 5, {"members": [0.0, 1, 2, 3, 4]}, r"indices must be integers of shape \(M,\), not float64"),
        (10, 5, {"members": [True] * 10}, r"indices must be integers of shape \(M,\), not bool"),
        (10, 5, {"members": [[0, 1, 2, 3, 4]]}, r"indices must be integers of shape \(M,\), not int64 of shape"),
        (10, 5, {"augment": "cifra"}, "did you mean cifar"),
        (10, 5, {"augment": 3}, "augmentation must be one of .*, not 3"),
        (10, 5, {"augment": [{"RandomCrop": {"size": 8, "padding": 1}}]}, "size is 8x8, but the images are 4x4"),
    ],
)
def test_refuses_what_cannot_work(count: int, size: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Batches(numbered(count), size, encode=PIXELS, **options)


def test_refuses_other_kinds_by_name() -> None:
    images: Any = numbered(10)
    dataset = Dataset("numbers", images, images, 10, np.zeros(1, np.float32), np.ones(1, np.float32))
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (images.images, {}, "images must be of type ImageSet, not ndarray"),
        (dataset, {}, "images must be of type ImageSet, not Dataset"),
        (images, {"encode": lambda pixels: pixels}, "encode must be of type Encoder, not function"),
        (images, {"encode": None}, "encode must be of type Encoder, not NoneType"),
        (images, {"mix": "mixup"}, "mix must be of type Mixing, not str"),
        (images, {"mix": lambda *given: given}, "mix must be of type Mixing, not function"),
    ]
    for data, options, message in wrong:
        with pytest.raises(TypeError, match=message):
            Batches(data, 5, **{"encode": PIXELS, **options})


def test_an_encoder_of_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="encode has a mean and std of 3 channels, but the images have 2"):
        Batches(pictures(10, (4, 4, 2)), 5, encode=ENCODERS["direct"])
    # one for all of them is as good
    one = Encoder("direct", mean=np.array([0.5]), std=np.array([0.25]))
    images = pictures(10, (4, 4, 2))
    expected = one(images.images.astype(np.float32) / np.float32(255))
    assert made(Batches(images, 5, encode=one)).inputs.tobytes() == expected.tobytes()


@pytest.mark.parametrize("augment", ["cifar", "crop_flip", ["RandAugment"], [{"Cutout": {"fill": 1}}]])
def test_augmentations_of_bytes_are_refused_for_other_pixels(augment: Any) -> None:
    assert len(labels_of(Batches(numbered(10), 5, encode=PIXELS, augment=augment))) == 10
    with pytest.raises(UserError, match=r"pixels of 0\.\.255, these images have 0\.\.16"):
        Batches(numbered(10, 16), 5, encode=PIXELS, augment=augment)


@pytest.mark.parametrize("augment", ["none", "shift", "shift_flip_erase", [{"Cutout": 2}, "RandomErasing"], shaken])
def test_others_suit_any_pixels_and_reach_no_further(augment: Any) -> None:
    images = pictures(50, (8, 8, 1), 16)
    found = made(Batches(images, 16, encode=PIXELS, augment=augment)).inputs
    assert found.max() == 1 and {*np.unique(found * 16)} <= set(range(17))


def test_refuses_an_epoch_before_the_first_or_beyond_all() -> None:
    batches = Batches(numbered(10), 5, encode=PIXELS)
    for epoch in (-1, 1.0, "0"):
        with pytest.raises(UserError, match="an epoch's number must be a whole number from 0"):
            batches.epoch(epoch)  # type: ignore[arg-type]
    assert len(made(batches, 2**31 - 1).labels) == 10
    with pytest.raises(UserError, match="an epoch's number must be at most 2147483647"):
        batches.epoch(2**31)


def test_an_empty_list_of_operations_is_none() -> None:
    batches = [Batches(pictures(20, (5, 5, 1)), 5, encode=PIXELS, augment=one) for one in ([], "none", None)]
    assert len({made(one).bits() for one in batches}) == 1
    assert all(one.augment == augmentation("none") for one in batches)


def test_images_stay_as_they_are() -> None:
    images = pictures(20, (8, 8, 3))
    frozen = ImageSet(images.images.copy(), images.labels, 255)
    frozen.images.flags.writeable = False
    for augment in ("cifar", lambda given, _: given):
        batches = Batches(frozen, 8, encode=PIXELS, augment=augment, mix=mixing("both"))
        assert len(made(batches).labels) == 20
    assert np.array_equal(frozen.images, images.images)


# What may not be changed, or given


def test_a_set_is_not_to_be_changed() -> None:
    """A GPU holds a copy of it."""
    images = numbered(4)
    for array in (images.images, images.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"members": np.array([0, 3, 0])}, "members must be different images"),
        ({"augment": RandomHorizontalFlip}, "augmentation must be one of"),
    ],
)
def test_what_would_mean_something_else(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Batches(numbered(4), 1, encode=PIXELS, **options)


@pytest.mark.parametrize(
    ("arguments", "words"), [((0, "cpu"), "device must be a network's device"), ((0, None, 3), "only must be")]
)
def test_an_epoch_of_what_it_is_not(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Batches(numbered(4), 1, encode=PIXELS).epoch(*arguments)


@pytest.mark.parametrize("on_gpu", [False, True])
@pytest.mark.parametrize("side", [1, 28, 224, MOST_PIXELS])
def test_no_part_of_an_image_is_too_large_for_a_sum(side: int, on_gpu: bool) -> None:
    parts = parts_of(side * side, on_gpu=on_gpu)
    assert parts >= 1 and -(-side * side // parts) * 255 < 2**31
    assert on_gpu or parts == 1 or side > 2000
