"""Orders, partners and mixtures beside the laws that they are to follow, and that no two draws share numbers."""

import math
from typing import Any

import numpy as np
import pytest
from helpers.batches import PIXELS, Draws, cpu, draws, instructed
from helpers.laws import LEAST, follows, is_uniform
from scipy import stats

from ttfs_cupy.data import Batches, ImageSet, Mixing
from ttfs_cupy.data.augmentation import Draw, Operation, Program
from ttfs_cupy.data.augmentation.program import float_bits
from ttfs_cupy.data.production import Production


def black(count: int, height: int = 1, width: int = 1) -> ImageSet:
    return ImageSet(np.zeros((count, height, width, 1), np.uint8), np.zeros(count, np.int32))


def mixtures(count: int, name: str, alpha: float, shape: tuple[int, int] = (1, 1), **options: Any) -> Draws:
    return draws(Batches(black(count, *shape), 1000, encode=PIXELS, mix=Mixing(name, alpha), **options))


# Orders


def test_every_image_stands_at_every_place_as_often() -> None:
    count, epochs = 12, 6000
    batches = Batches(black(count), 1, encode=PIXELS, shuffle=True, seed=11)
    orders = np.array([batches.order(epoch).images for epoch in range(epochs)])
    table = np.array([np.bincount(orders[:, place], minlength=count) for place in range(count)])
    # rows and columns have fixed sums, all of whose cells are draws of permutations
    statistic = ((table - epochs / count) ** 2).sum() / (epochs / count) * (count - 1) / count
    assert stats.chi2((count - 1) ** 2).sf(statistic) > LEAST and stats.chi2((count - 1) ** 2).cdf(statistic) > LEAST
    # two places of one epoch differ and are of any pair; places of two epochs have nothing to do with each other
    pairs = {(one, other): 1 / (count * (count - 1)) for one in range(count) for other in range(count) if one != other}
    assert follows([*zip(orders[:, 0].tolist(), orders[:, 1].tolist(), strict=True)], pairs)
    assert is_uniform(orders[1:, 3], orders[:-1, 3], sizes=(count, count))
    others = np.array(
        [Batches(black(count), 1, encode=PIXELS, shuffle=True, seed=seed).order(0).images for seed in range(2000)]
    )
    assert is_uniform(others[1:, 3], others[:-1, 3], sizes=(count, count))


# Partners


def test_a_partner_is_any_one_of_the_epoch() -> None:
    found = mixtures(20_000, "mixup", 1.0, seed=4).partners
    assert is_uniform(found // 100, sizes=(200,)) and is_uniform(found[:-1] // 500, found[1:] // 500, sizes=(40, 40))
    # one's own partner, too
    assert stats.poisson(1).sf((found == np.arange(20_000)).sum() - 1) > LEAST


def test_an_images_partners_over_epochs_are_any_one() -> None:
    count, epochs = 15, 1500
    batches = Batches(black(count), 5, encode=PIXELS, mix=Mixing("mixup"), seed=4, shuffle=True)
    production, found = Production(batches, cpu()), []
    for epoch in range(epochs):
        production.begin(epoch)
        partners = production._partners
        assert partners is not None
        order = batches.order(epoch).images
        found.append(order[partners][np.argsort(order)])
    table = np.array(found)
    for image in range(count):
        assert is_uniform(table[:, image], sizes=(count,))
    assert is_uniform(np.tile(np.arange(count), epochs), table.ravel(), sizes=(count, count))
    assert is_uniform(table[:-1].ravel(), table[1:].ravel(), sizes=(count, count))


# Shares


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0, 30.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    shares, law = mixtures(200_000, "mixup", alpha, seed=1).shares.astype(np.float64), stats.beta(alpha, alpha)
    below = shares[shares < 0.5]
    assert stats.binomtest(len(below), len(shares), 0.5).pvalue > LEAST
    assert stats.kstest(below, lambda x: 2 * law.cdf(x)).pvalue > LEAST
    # near 1, numbers have fewer digits than near 0: parts of equal probability, of fewer shares
    edges = law.ppf(np.linspace(0, 1, 41)[1:-1])
    assert is_uniform(np.searchsorted(edges, shares[:20_000]), sizes=(40,))
    if alpha >= 1:
        assert stats.kstest(shares, law.cdf).pvalue > LEAST


def test_the_smallest_alpha_mixes_next_to_nothing_and_the_largest_halves() -> None:
    shares = mixtures(20_000, "mixup", 0.01, seed=1).shares.astype(np.float64)
    law = stats.beta(0.01, 0.01)
    between = ((shares > 0.001) & (shares < 0.999)).sum()
    assert stats.binomtest(int(between), 20_000, law.cdf(0.999) - law.cdf(0.001)).pvalue > LEAST
    assert stats.binomtest(int((shares < 0.5).sum()), 20_000, 0.5).pvalue > LEAST
    assert stats.kstest(mixtures(20_000, "mixup", 100, seed=1).shares, stats.beta(100, 100).cdf).pvalue > LEAST


# Boxes


def law_of_boxes(alpha: float, height: int, width: int) -> dict[tuple[int, ...], float]:
    """As published: sides are sqrt(1 - share) of the image's, halved and cut to whole pixels, about any pixel, and cut
    off at the border."""
    law: dict[tuple[int, ...], float] = {}
    # as the side grows, rows and columns are added where it is an even number of pixels
    steps = sorted({2 * half / size for size in (height, width) for half in range(size // 2 + 1)} | {1.0})
    below = [stats.beta(alpha, alpha).sf(1 - side**2) for side in steps]
    for first, last, low, high in zip(steps, steps[1:], below, below[1:], strict=False):
        side = (first + last) / 2
        tall, wide = int(height * side) // 2, int(width * side) // 2
        for y in range(height):
            for x in range(width):
                box = (max(y - tall, 0), min(y + tall, height), max(x - wide, 0), min(x + wide, width))
                law[box] = law.get(box, 0) + (high - low) / (height * width)
    return law


@pytest.mark.parametrize(("alpha", "shape"), [(1.0, (8, 8)), (1.0, (5, 8)), (0.5, (6, 4)), (3.0, (4, 7))])
def test_boxes_follow_their_law(alpha: float, shape: tuple[int, int]) -> None:
    found = mixtures(60_000, "cutmix", alpha, shape, seed=2)
    law = {box: chance for box, chance in law_of_boxes(alpha, *shape).items() if chance > 0}
    outcomes = [*map(tuple, found.boxes.tolist())]
    # rare ones are counted together
    rare = {box for box, chance in law.items() if chance * len(outcomes) < 5}
    merged = {box: chance for box, chance in law.items() if box not in rare}
    if rare:
        merged[()] = sum(law[box] for box in rare)
    assert follows([() if box in rare else box for box in outcomes], merged)
    top, bottom, left, right = found.boxes.T
    assert np.allclose(found.shares, 1 - (bottom - top) * (right - left) / (shape[0] * shape[1]), atol=1e-6)


def test_both_are_either_at_even_odds_and_each_follows_its_law() -> None:
    found = mixtures(40_000, "both", 0.7, (8, 8), seed=3)
    is_cut = found.weights == 1
    assert stats.binomtest(int(is_cut.sum()), 40_000, 0.5).pvalue > LEAST
    law = stats.beta(0.7, 0.7)
    assert is_uniform(np.searchsorted(law.ppf(np.linspace(0, 1, 41)[1:-1]), found.shares[~is_cut]), sizes=(40,))
    assert (found.boxes[~is_cut] == 0).all() and np.array_equal(found.shares[~is_cut], found.weights[~is_cut])
    boxes: dict[tuple[int, ...], float] = {}
    for box, chance in law_of_boxes(0.7, 8, 8).items():
        area = (box[1] - box[0], box[3] - box[2])
        boxes[area] = boxes.get(area, 0) + chance
    top, bottom, left, right = found.boxes[is_cut].T
    sides = [*zip((bottom - top).tolist(), (right - left).tolist(), strict=True)]
    rare = {side for side, chance in boxes.items() if chance * len(sides) < 5}
    merged = {side: chance for side, chance in boxes.items() if side not in rare and chance > 0}
    if rest := sum(boxes[side] for side in rare):
        merged[()] = rest
    assert follows([() if side in rare else side for side in sides], merged)
    # which of the two says nothing of what comes next
    assert is_uniform(is_cut[:-1].astype(int), is_cut[1:].astype(int), sizes=(2, 2))


# No two draws share numbers

COUNT = 10_007
SLOTS = 32


def slots_drawn(slot: list[int], epoch: int, seed: int) -> np.ndarray:
    """What all slots draw for images of 8192x8192, if each is this one: instructions, int32 (COUNT, SLOTS, 8)."""
    slots = np.array([[*slot, *[0] * (8 - len(slot))]] * SLOTS, np.int32)
    return instructed(Program(slots, np.empty((0, 17), np.int32)), (8192, 8192, 1), np.arange(COUNT), epoch, seed)


def everything_drawn(epoch: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    """All that is drawn for each image, as numbers that grow with the random ones that they are made of."""
    columns: dict[str, np.ndarray] = {}
    reach, always, ratio = 8191, 1 << 24, 10 * math.log(2)
    shifted = slots_drawn([Draw.SHIFT, reach, reach], epoch, seed)
    # of half the image, where one ratio in ten fits, so that all attempts are made
    half = [float_bits(number) for number in (0.5, 0.5, -ratio, ratio)]
    erased = slots_drawn([Draw.ERASE, always, *half], epoch, seed)
    assert 0.6 < (erased[..., 0] == Operation.FILL).mean() < 0.7
    for slot in range(SLOTS):
        columns[f"rows {slot}"], columns[f"columns {slot}"] = rows, across = shifted[:, slot, 6], shifted[:, slot, 3]
        # as shares are made of two words
        first, second = (((words >> 16) + reach) / (2 * reach + 1) for words in (rows, across))
        columns[f"normal {slot}"] = np.sqrt(-2 * np.log(1 - first)) * np.cos(2 * np.pi * second)
        columns[f"top {slot}"] = erased[:, slot, 1]
    options: dict[str, Any] = {"encode": PIXELS, "seed": seed}
    # blended, of a wide law; cut, of small boxes, whose middle is where it was drawn, but for the border's
    blended = draws(Batches(black(COUNT), 1000, mix=Mixing("mixup", 1), **options), epoch)
    cut = draws(Batches(black(COUNT, 31, 37), 1000, mix=Mixing("cutmix", 0.05), **options), epoch)
    columns["partner"], columns["share"] = blended.partners, blended.shares
    columns["row"], columns["column"] = cut.boxes[:, :2].sum(axis=1), cut.boxes[:, 2:].sum(axis=1)
    return columns


def test_no_two_draws_share_numbers() -> None:
    """What was drawn of the same words of one counter would grow alike: of any two columns the ranks are unrelated.

    The columns are all slots, partners and mixtures of one epoch, of the next one, of seeds that differ in either half,
    and those of the neighbouring images.
    """
    now = everything_drawn()
    columns = [*now.values(), *everything_drawn(epoch=1).values(), *everything_drawn(seed=1).values()]
    columns += [*everything_drawn(seed=1 << 32).values(), *(np.roll(column, 1) for column in now.values())]
    ranks = np.array([stats.rankdata(column) for column in columns])
    assert len(ranks) == 5 * (4 * SLOTS + 4)
    related = np.abs(np.corrcoef(ranks))
    np.fill_diagonal(related, 0)
    # normal, of that deviation, so one of 220,000 pairs is beyond 5.8 deviations once in 700 times
    assert related.max() < 5.8 / np.sqrt(COUNT)


def test_occurrences_of_an_image_draw_apart() -> None:
    slots = np.array([[Draw.SHIFT, 8191, 8191, 0, 0, 0, 0, 0]] * SLOTS, np.int32)
    program = Program(slots, np.empty((0, 17), np.int32))
    found = [instructed(program, (1, 1, 1), np.arange(2000), 0, 0, occurrence)[..., 6] for occurrence in range(4)]
    # of 2^14 distances, a handful are the same by chance
    for one in range(4):
        for other in range(one):
            equal = int((found[one] == found[other]).sum())
            assert stats.poisson(2000 * SLOTS / 16383).sf(equal - 1) > LEAST
