"""What the kernels draw for augmentations, beside the laws that it is to follow. Seeds are fixed."""

import math
from typing import Any

import numpy as np
import pytest
from helpers.batches import PIXELS, Shape, draws, instructed, pictures
from helpers.laws import LEAST, follows, is_uniform
from scipy import stats

from ttfs_cupy.data import Augmentation, Batches, augmentation
from ttfs_cupy.data.augmentation import (
    AutoAugment,
    Cutout,
    Operation,
    Program,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
    TrivialAugmentWide,
)

SHAPE = (12, 9, 1)


def program_of(*operations: Any, shape: Shape = SHAPE) -> Program:
    return Augmentation(operations).program(shape)


def drawn(count: int, *operations: Any, shape: Shape = SHAPE, **where: int) -> np.ndarray:
    """The instructions, (count, S, 8), of images 0 to count - 1."""
    return instructed(program_of(*operations, shape=shape), shape, np.arange(count), **where)


def test_what_is_launched_here_is_what_batches_are_made_with() -> None:
    batches = Batches(pictures(50, (8, 8, 3)), 16, encode=PIXELS, augment="cifar", seed=2**63 + 1, shuffle=True)
    alone = instructed(batches.program, (8, 8, 3), batches.order(4).images, epoch=4, seed=2**63 + 1)
    assert np.array_equal(draws(batches, 4).instructions, alone)


def test_a_law_that_is_not_so_is_seen() -> None:
    """By how little it may differ: a twentieth more or less of each other outcome."""
    random = np.random.default_rng(0)
    skewed = random.choice(10, 20_000, p=np.tile([0.095, 0.105], 5))
    assert not is_uniform(skewed, sizes=(10,)) and is_uniform(random.integers(0, 10, 20_000), sizes=(10,))
    twice = random.integers(0, 4, 20_000)
    assert not is_uniform(twice, twice, sizes=(4, 4))
    assert not follows([*skewed], dict.fromkeys(range(10), 0.1)) and not follows([11] * 100, {0: 0.5, 1: 0.5})


@pytest.mark.parametrize(
    ("operation", "reach"),
    [(RandomCrop(padding=[2, 3]), (3, 2)), (RandomCrop(padding=1), (1, 1)), (RandomTranslation([0.5, 0.25]), (3, 4))],
)
def test_shifts_are_uniform_and_rows_independent_of_columns(operation: Any, reach: tuple[int, int]) -> None:
    top, left = reach
    found = drawn(20_000, operation)[:, 0]
    rows, columns = (found[:, 6] >> 16) + top, (found[:, 3] >> 16) + left
    assert is_uniform(rows, columns, sizes=(2 * top + 1, 2 * left + 1))


@pytest.mark.parametrize("chance", [0.5, 0.03, 0.71])
def test_flips_come_with_their_chance_and_apart(chance: float) -> None:
    found = drawn(20_000, RandomHorizontalFlip(chance), RandomVerticalFlip(chance), RandomHorizontalFlip(chance))
    law = {
        outcome: math.prod(chance if is_one else 1 - chance for is_one in outcome) for outcome in np.ndindex(2, 2, 2)
    }
    flipped = (found[..., 0] == Operation.AFFINE).astype(int)
    if chance == 0.03:
        # all three at once are too rare for a law
        law = {(0,): 1 - chance, (1,): chance}
        flipped = flipped[:, :1]
    assert follows([tuple(row) for row in flipped.tolist()], law)


def test_cutouts_centre_is_any_pixel() -> None:
    top, bottom, left, right = drawn(30_000, Cutout(1))[:, 0, 1:5].T
    assert (bottom == top + 1).all() and (right == left + 1).all()
    assert is_uniform(top, left, sizes=SHAPE[:2])


# So large that sides of whole pixels are as good as continuous
LARGE = (4096, 4096, 1)


def rectangles(count: int, operation: RandomErasing) -> tuple[np.ndarray, ...]:
    """Areas and logarithms of ratios of what was erased, places as shares of where there is room, and how many."""
    found = drawn(count, operation, shape=LARGE)[:, 0]
    erased = found[found[:, 0] == Operation.FILL].astype(np.float64)
    top, bottom, left, right = erased[:, 1:5].T
    rows, columns = bottom - top, right - left
    places = [(start + 0.5) / (4096 - side + 1) for start, side in ((top, rows), (left, columns))]
    return rows * columns / 4096**2, np.log(rows / columns), *places


def test_erasing_follows_its_law_where_it_always_fits() -> None:
    scale, ratio = (0.02, 0.3), (0.5, 2.0)
    area, log_ratio, *places = found = rectangles(8000, RandomErasing(0.7, scale, ratio))
    assert stats.binomtest(len(area), 8000, 0.7).pvalue > LEAST
    low, high = np.log(ratio)
    for values, (first, last) in zip(found, (scale, (low, high), (0, 1), (0, 1)), strict=True):
        assert stats.kstest(values, stats.uniform(first, last - first).cdf).pvalue > LEAST
    for one in range(4):
        for other in range(one):
            assert stats.spearmanr(found[one], found[other]).pvalue > LEAST
    assert len(places) == 2 and len(log_ratio) == len(area)


def test_erasing_follows_its_law_given_that_it_fits() -> None:
    """An area has as many ratios as give sides shorter than the image's."""
    scale, ratio = (0.1, 1.0), (0.3, 3.3)
    area, log_ratio, *_ = rectangles(8000, RandomErasing(1, scale, ratio))
    low, high = np.log(ratio)
    areas = np.linspace(*scale, 20_001)
    room = np.minimum(high, -np.log(areas)) - np.maximum(low, np.log(areas))
    missing = 1 - room.mean() / (high - low)
    assert stats.binomtest(8000 - len(area), 8000, missing**10).pvalue > LEAST
    assert stats.kstest(area, lambda x: np.interp(x, areas, np.cumsum(room) / room.sum())).pvalue > LEAST
    ratios = np.linspace(low, high, 20_001)
    share = np.exp(-np.abs(ratios)) - scale[0]
    assert stats.kstest(log_ratio, lambda x: np.interp(x, ratios, np.cumsum(share) / share.sum())).pvalue > LEAST


@pytest.mark.parametrize("chance", [0.5, 0.02])
def test_erasing_of_small_images_comes_with_its_chance(chance: float) -> None:
    found = drawn(20_000, RandomErasing(chance), shape=(28, 28, 1))[:, 0, 0] == Operation.FILL
    # a rectangle of its default scale and ratio fits but for one in some hundreds, ten times over
    assert stats.binomtest(int(found.sum()), 20_000, chance).pvalue > LEAST


def chosen(count: int, operation: Any) -> tuple[np.ndarray, np.ndarray]:
    """For each image and slot the row of choices that was taken, -1 for none, and whether with the other sign."""
    program = program_of(operation)
    rows = program.choices.copy()
    # in place of the instructions what tells them apart, which two equal changes of a table would not be
    for start, sign in ((1, 0), (9, 1)):
        rows[:, start : start + 3] = [(1, row, sign) for row in range(len(rows))]
    found = instructed(Program(program.slots, rows), SHAPE, np.arange(count))
    return np.where(found[..., 0] == 1, found[..., 1], -1), found[..., 2]


def test_auto_augments_pairs_chances_and_signs() -> None:
    count = 150_000
    rows, signs = chosen(count, AutoAugment())
    chances = program_of(AutoAugment()).choices[:, 0] / (1 << 24)
    law: dict[tuple[int, ...], float] = {}
    for pair in range(25):
        slots = []
        for row in (pair, 25 + pair):
            none = [((-1, 0), 1 - chances[row])]
            slots.append([*none, *(((row, sign), chances[row] / 2) for sign in (0, 1))])
        for (first, one), (second, other) in ((a, b) for a in slots[0] for b in slots[1]):
            law[(*first, *second)] = law.get((*first, *second), 0) + one * other / 25
    outcomes = np.stack([rows[:, 0], signs[:, 0], rows[:, 1], signs[:, 1]], axis=1)
    assert follows([*map(tuple, outcomes.tolist())], law)


def test_rand_augments_operations_and_signs() -> None:
    rows, signs = chosen(60_000, RandAugment(2))
    assert is_uniform(rows[:, 0], rows[:, 1], signs[:, 0], signs[:, 1], sizes=(14, 14, 2, 2))


@pytest.mark.parametrize("bins", [31, 4])
def test_trivial_augments_operations_magnitudes_and_signs(bins: int) -> None:
    rows, signs = chosen(40_000, TrivialAugmentWide(bins))
    assert is_uniform(rows[:, 0] // bins, rows[:, 0] % bins, signs[:, 0], sizes=(14, bins, 2))


@pytest.mark.parametrize("where", [{"epoch": 1}, {"epoch": 2**31 - 1}, {"seed": 2**64 - 1}, {"occurrence": 3}], ids=str)
def test_other_epochs_seeds_and_occurrences_follow_the_same_law(where: dict[str, int]) -> None:
    found = drawn(20_000, RandomCrop(padding=2), RandomHorizontalFlip(), **where)
    rows, columns = (found[:, 0, 6] >> 16) + 2, (found[:, 0, 3] >> 16) + 2
    assert is_uniform(rows, columns, (found[:, 1, 0] == Operation.AFFINE).astype(int), sizes=(5, 5, 2))


def test_one_image_over_its_epochs_follows_the_same_law() -> None:
    program = augmentation([{"RandomCrop": {"padding": 1}}, "RandomHorizontalFlip"]).program(SHAPE)
    found = np.concatenate([instructed(program, SHAPE, np.array([5]), epoch) for epoch in range(3000)])
    rows, columns = (found[:, 0, 6] >> 16) + 1, (found[:, 0, 3] >> 16) + 1
    assert is_uniform(rows, columns, (found[:, 1, 0] == Operation.AFFINE).astype(int), sizes=(3, 3, 2))
