"""What is drawn of a program, by the kernels' plain reference: the random numbers, and the instructions they become."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import transforms

from ttfs_cupy.check.kernels.references.augmentation import carried_out, drawn_instructions, philox
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data.augmentation import (
    AUGMENTATIONS,
    Augmentation,
    Cutout,
    Operation,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
    TrivialAugmentWide,
)
from ttfs_cupy.data.augmentation.operations import ImageOperation

ONE, HALF = 1 << 16, 1 << 15


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(counter: str, key: str, words: str) -> None:
    def read(text: str) -> np.ndarray:
        return np.array([int(word, 16) for word in text.split()], np.uint32)

    assert np.array_equal(philox(read(counter), read(key)), read(words))
    many = np.array([read(counter), read("1 2 3 4")])
    assert np.array_equal(philox(many, read(key))[0], read(words))


def drawn(operations: list[ImageOperation], shape: tuple[int, int, int], count: int, **where: int) -> np.ndarray:
    """The instructions, int32 (count, S, 8), of images 0 to count - 1."""
    program = Augmentation(tuple(operations)).program(shape)
    place = {"epoch": 0, "seed": 0, **where}
    return drawn_instructions(program, shape, np.arange(count), np.zeros(count, int), **place)


def shifts(instructions: np.ndarray) -> np.ndarray:
    """(N, 2): by how many rows and columns; the instructions must be shifts and nothing else."""
    operation, a, b, column, d, e, row, _ = instructions.T
    assert (operation == Operation.AFFINE).all()
    assert (a == ONE).all() and (e == ONE).all() and not b.any() and not d.any()
    assert (column % ONE == HALF).all() and (row % ONE == HALF).all()
    return np.stack([row >> 16, column >> 16], axis=1)


@pytest.mark.parametrize(
    ("operation", "shape", "reach"),
    [
        (RandomCrop(padding=4), (32, 32, 3), (4, 4)),
        (RandomCrop(padding=[1, 2]), (16, 24, 1), (2, 1)),
        (RandomCrop(padding=0), (8, 8, 1), (0, 0)),
        (RandomTranslation([0.25, 0]), (8, 12, 2), (0, 3)),
    ],
)
def test_a_shift_takes_every_distance_as_often(
    operation: ImageOperation, shape: tuple[int, int, int], reach: tuple[int, int]
) -> None:
    found = shifts(drawn([operation], shape, 3000)[:, 0])
    for axis, most in enumerate(reach):
        values, counts = np.unique(found[:, axis], return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert counts.min() > 0.8 * 3000 / len(values)
    if min(reach):
        assert abs(np.corrcoef(found.T)[0, 1]) < 0.06


@pytest.mark.parametrize("size", [8, 28, 32])
def test_named_augmentations_shift_as_far_as_before(size: int) -> None:
    for name, reach, fill in (("crop_flip", size // 8, 128), ("shift", round(size / 14), 0)):
        slot = AUGMENTATIONS[name].program((size, size, 1)).slots[0]
        assert slot.tolist() == [0, reach, reach, int.from_bytes([fill] * 4, "little", signed=True), 0, 0, 0, 0]


@pytest.mark.parametrize("chance", [0, 0.1, 0.5, 1])
def test_flips(chance: float) -> None:
    instructions = drawn([RandomHorizontalFlip(chance), RandomVerticalFlip(chance)], (5, 7, 1), 2000)
    mirrors = [[1, -ONE, 0, 6 * ONE + HALF, 0, ONE, HALF, 0], [1, ONE, 0, HALF, 0, -ONE, 4 * ONE + HALF, 0]]
    for slot, mirror in enumerate(mirrors):
        is_mirrored = (instructions[:, slot] == mirror).all(axis=1)
        assert not instructions[~is_mirrored, slot].any()
        assert abs(is_mirrored.mean() - chance) < 0.04
        assert chance not in (0, 1) or is_mirrored.mean() == chance


@pytest.mark.parametrize(
    ("operation", "sides"), [(Cutout(), (16, 12)), (Cutout(5), (5, 5)), (Cutout([1, 40]), (1, 40))]
)
def test_cutout_is_around_a_pixel_and_cut_off_at_the_border(operation: Cutout, sides: tuple[int, int]) -> None:
    instructions = drawn([operation], (32, 24, 3), 3000)[:, 0]
    assert (instructions[:, 0] == Operation.FILL).all() and not instructions[:, 5:].any()
    for axis, size in enumerate((32, 24)):
        found = {(start, end) for start, end in instructions[:, 1 + 2 * axis : 3 + 2 * axis].tolist()}
        starts = [centre - sides[axis] // 2 for centre in range(size)]
        assert found == {(max(start, 0), min(start + sides[axis], size)) for start in starts}


def test_erasing_follows_torchvisions_law() -> None:
    shape = (28, 28, 1)
    instructions = drawn([RandomErasing(0.8)], shape, 4000)[:, 0]
    erased = instructions[:, 0] == Operation.FILL
    assert abs(erased.mean() - 0.8) < 0.025 and not instructions[~erased].any()
    top, bottom, left, right = instructions[erased, 1:5].T
    assert (top >= 0).all() and (bottom <= 28).all() and (left >= 0).all() and (right <= 28).all()

    image = torch.zeros(1, 28, 28)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [transforms.RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3)) for _ in range(3000)]
    rows, columns, heights, widths = np.array([one[:4] for one in theirs if one[2:4] != (28, 28)]).T
    for ours, others in (
        (top, rows),
        (left, columns),
        (bottom - top, heights),
        (right - left, widths),
        ((bottom - top) * (right - left), heights * widths),
        ((bottom - top) / (right - left), heights / widths),
    ):
        assert distance(ours, others) < 1.9 * math.sqrt(1 / len(ours) + 1 / len(others))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Kolmogorov's and Smirnov's, between two samples. Of one distribution, 1.9 is passed once in 700 times."""
    values = np.unique([*one, *other])
    shares = [np.searchsorted(np.sort(sample), values, "right") / len(sample) for sample in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def test_erasing_gives_up_on_what_never_fits() -> None:
    # all of the image, so that no side is shorter than the image's
    assert not drawn([RandomErasing(1, [1, 1], [1, 1])], (9, 9, 1), 50).any()
    # half of it, as a square: 9 / sqrt(2) is 6.4
    found = drawn([RandomErasing(1, [0.5, 0.5], [1, 1], 7)], (9, 9, 1), 50)[:, 0]
    assert (found[:, 2] - found[:, 1] == 6).all() and (found[:, 4] - found[:, 3] == 6).all()
    assert (found[:, 7] == 0x07070707).all()
    # up to both borders
    assert set(found[:, 1].tolist()) == set(found[:, 3].tolist()) == {0, 1, 2, 3}


sides = st.integers(1, 12)


@settings(max_examples=60, deadline=None)
@given(st.tuples(sides, sides, st.sampled_from([1, 3])), sides, st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_whatever_is_drawn_stays_within_the_image(
    shape: tuple[int, int, int], side: int, seed: int, epoch: int
) -> None:
    erase = RandomErasing(1, [0, 1], [0.01, 100], 5)
    parts = (
        Cutout([side, 13 - side]),
        Cutout(),
        erase,
        RandomCrop(padding=side),
        RandAugment(),
        *AUGMENTATIONS["cifar"].operations,
    )
    program = Augmentation(parts).program(shape)
    images = np.array([0, 2**32 - 1])
    instructions = drawn_instructions(program, shape, images, np.array([0, 1]), epoch, seed)
    fills = instructions[instructions[..., 0] == Operation.FILL]
    assert len(fills) >= 4
    top, bottom, left, right = fills[:, 1:5].T
    assert (top >= 0).all() and (top <= bottom).all() and (bottom <= shape[0]).all()
    assert (left >= 0).all() and (left <= right).all() and (right <= shape[1]).all()
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    before = image.copy()
    for instruction in instructions.reshape(-1, 8):
        result = carried_out(instruction, image)
        assert result.shape == shape and result.dtype == np.uint8
        assert np.array_equal(image, before)


def test_what_is_drawn_depends_on_the_place_alone() -> None:
    program = AUGMENTATIONS["cifar"].program((32, 32, 3))

    def of(images: list[int], occurrences: list[int], epoch: int = 3, seed: int = 2**40 + 5) -> np.ndarray:
        return drawn_instructions(program, (32, 32, 3), np.array(images), np.array(occurrences), epoch, seed)

    images = [5, 0, 70_000, 12, 5]
    together = of(images, [0, 0, 0, 0, 1])
    for number, image in enumerate(images):
        assert np.array_equal(of([image], [number // 4])[0], together[number])
    assert not np.array_equal(together[0], together[4])
    many = list(range(20))
    base = of(many, [0] * 20)
    for other in (of(many, [0] * 20, epoch=4), of(many, [0] * 20, seed=5), of(many, [0] * 20, seed=2**41 + 5)):
        assert (other != base).any(axis=(1, 2)).mean() > 0.9
    # slots draw apart from one another: two flips are mirrored together half of the time
    twice = drawn([RandomHorizontalFlip(), RandomHorizontalFlip()], (4, 4, 1), 1000)[..., 0]
    assert 0.43 < (twice[:, 0] == twice[:, 1]).mean() < 0.57


@pytest.mark.parametrize(("operation", "slots"), [(RandAugment(), 2), (TrivialAugmentWide(5), 1)])
def test_policies_choose_every_change_as_often(operation: ImageOperation, slots: int) -> None:
    program = Augmentation((operation,)).program((32, 32, 3))
    instructions = drawn([operation], (32, 32, 3), 2000)
    assert instructions.shape == (2000, slots, 8)
    rows = program.choices
    assert (rows[:, 0] == 1 << 24).all()
    for slot in range(slots):
        possible = {tuple(row[start : start + 8]) for row in rows.tolist() for start in (1, 9)}
        assert {tuple(one) for one in instructions[:, slot].tolist()} <= possible
        for kind in range(11):
            wanted = np.mean([[row[1] == kind, row[9] == kind] for row in rows.tolist()])
            assert abs((instructions[:, slot, 0] == kind).mean() - wanted) < 5 * math.sqrt(wanted / 2000) + 1e-9


def test_all_slots_of_several_policies_refer_to_their_own_choices() -> None:
    parts = ("cifar", "flip", "cifar")
    whole = Augmentation(tuple(one for name in parts for one in AUGMENTATIONS[name].operations))
    program = whole.program((32, 32, 3))
    assert program.slots.dtype == program.choices.dtype == np.int32
    choosing = program.slots[program.slots[:, 0] == 4, 1:4].tolist()
    assert choosing == [[0, 25, 2], [25, 25, 2], [50, 25, 8], [75, 25, 8]]
    assert np.array_equal(program.choices[:50], program.choices[50:])


@pytest.mark.parametrize(
    ("operations", "shape", "sentence"),
    [
        (
            [RandAugment(20), RandAugment(13)],
            (8, 8, 1),
            "an augmentation may make up to 32 changes to an image, not 33",
        ),
        ([Cutout(), RandAugment()], (8, 8, 2), "operation 2, RandAugment is made for images of 1 or 3 channels, not 2"),
        ([TrivialAugmentWide()], (8, 8, 4), "TrivialAugmentWide is made for images of 1 or 3 channels, not 4"),
        ([RandomCrop(28, 4)], (32, 32, 3), "RandomCrop: size is 28x28, but the images are 32x32, which a crop keeps"),
        ([Cutout(fill=[1, 2, 3])], (8, 8, 1), "Cutout: fill is a list of 3, but the images' channels are 1"),
        (
            [RandomCrop(padding=1, fill=[9])],
            (8, 8, 6),
            "RandomCrop: fill is a list of 1, but the images' channels are 6",
        ),
        ([], (8, 9000, 1), "the images' width must be at most 8192, not 9000"),
        ([], (8, 8), "shape must be an image's (height, width, channels), not (8, 8)"),
    ],
)
def test_images_that_an_operation_is_not_made_for(operations: list, shape: tuple, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        Augmentation(tuple(operations)).program(shape)
    assert sentence in str(caught.value)
