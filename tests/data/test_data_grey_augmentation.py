"""Augmentation for grey images on black: shifts, flips and erasing, and what they never do."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, ImageSet, augmentation
from ttfs_cupy.data.host_augmentation import erase, shift

GREY = ["flip", "shift", "shift_flip", "shift_erase", "shift_flip_erase"]

shapes = st.tuples(st.integers(1, 5), *[st.integers(1, 33)] * 2, st.integers(1, 3))
many = settings(max_examples=100, deadline=None)


def drawn(shape: tuple[int, ...], seed: int, maximum: int) -> np.ndarray:
    """Images without black pixels, so that black ones are what was put there."""
    return np.random.default_rng(seed).integers(1, maximum + 1, shape, dtype=np.uint8)


def shifts_of(image: np.ndarray) -> Iterator[np.ndarray]:
    """The image shifted over black by all that is allowed, a fourteenth of its size in each direction."""
    height, width, _ = image.shape
    down, right = round(height / 14), round(width / 14)
    padded = np.pad(image, ((down, down), (right, right), (0, 0)))
    for row in range(2 * down + 1):
        for column in range(2 * right + 1):
            yield padded[row : row + height, column : column + width]


@many
@given(shapes, st.integers(0, 2**32), st.sampled_from([1, 16, 255]))
def test_a_shift_is_one_of_those_allowed(shape: tuple[int, ...], seed: int, maximum: int) -> None:
    images = drawn(shape, seed, maximum)
    for image, shifted in zip(images, shift(images, np.random.default_rng(seed)), strict=True):
        assert any(np.array_equal(shifted, one) for one in shifts_of(image))


@pytest.mark.parametrize(("size", "reach"), [(28, 2), (8, 1), (32, 2), (6, 0)])
def test_how_far_images_are_shifted(size: int, reach: int) -> None:
    """By the place of one bright pixel: every shift up to there, all about as often, rows apart from columns."""
    images = np.zeros((5000, size, size, 1), np.uint8)
    images[:, size // 2, size // 2] = 200
    _, *places, _ = np.nonzero(shift(images, np.random.default_rng(0)))
    for place in places:
        found, counts = np.unique(place - size // 2, return_counts=True)
        assert found.tolist() == list(range(-reach, reach + 1))
        assert counts.min() > 0.85 * 5000 / len(found)
    assert reach == 0 or (places[0] != places[1]).any()


@pytest.mark.parametrize("name", GREY)
@many
@given(shapes, st.integers(0, 2**32), st.sampled_from([1, 16, 255]))
def test_only_pixels_of_the_image_and_black(name: str, shape: tuple[int, ...], seed: int, maximum: int) -> None:
    images = drawn(shape, seed, maximum)
    before = images.copy()
    changed = augmentation(name)(images, np.random.default_rng(seed))
    assert changed.shape == images.shape and changed.dtype == np.uint8
    for image, one in zip(images, changed, strict=True):
        assert set(np.unique(one)) <= {0, *np.unique(image)}
    assert np.array_equal(images, before)
    assert np.array_equal(changed, augmentation(name)(images, np.random.default_rng(seed)))


def test_a_flip_is_a_mirror_of_about_half() -> None:
    images = drawn((1000, 6, 6, 1), 0, 16)  # too small for a shift
    flipped = augmentation("shift_flip")(images, np.random.default_rng(0))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (mirrored ^ (flipped == images).all(axis=(1, 2, 3))).all()
    assert 440 < mirrored.sum() < 560


@many
@given(shapes, st.integers(0, 2**32))
def test_what_is_erased_is_one_rectangle_within_its_bounds(shape: tuple[int, ...], seed: int) -> None:
    images = drawn(shape, seed, 255)
    _, height, width, _ = shape
    erased = erase(images, np.random.default_rng(seed))
    assert ((erased == images) | (erased == 0)).all()
    holes = (erased == 0).all(axis=3)
    assert np.array_equal(holes, (erased == 0).any(axis=3))
    for hole in holes:
        if hole.any():
            rows, columns = hole.any(axis=1), hole.any(axis=0)
            tall, wide = rows.sum(), columns.sum()
            assert np.array_equal(hole, rows[:, None] & columns) and tall < height and wide < width
            for side in (rows, columns):
                assert (np.diff(side.astype(int), prepend=0, append=0) != 0).sum() == 2
            # sides are rounded: by half a pixel each
            assert (tall - 0.5) * (wide - 0.5) <= 0.4 * height * width
            assert (tall + 0.5) * (wide + 0.5) >= 0.02 * height * width
            assert (tall - 0.5) / (wide + 0.5) <= 1 / 0.3 and (tall + 0.5) / (wide - 0.5) >= 0.3


def test_statistics_of_erasing_are_the_published_ones() -> None:
    holes = erase(np.full((20_000, 28, 28, 1), 9, np.uint8), np.random.default_rng(0))[..., 0] == 0
    areas = holes.sum(axis=(1, 2)) / 28**2
    assert abs((areas > 0).mean() - 0.5) < 0.02
    # drawn one by one, as in the authors' code
    random = np.random.default_rng(1)
    expected = []
    while len(expected) < 10_000:
        for _ in range(100):
            area, aspect = random.uniform(0.02, 0.4) * 28**2, random.uniform(0.3, 1 / 0.3)
            tall, wide = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
            if tall < 28 and wide < 28:
                expected.append(tall * wide / 28**2)
                break
    assert np.quantile(areas[areas > 0], [0.1, 0.5, 0.9]) == pytest.approx(
        np.quantile(expected, [0.1, 0.5, 0.9]), abs=0.01
    )
    # the rectangle lies anywhere within: opposite corners are erased as often
    share = holes.mean(axis=0)
    assert np.abs(share - share[::-1, ::-1]).max() < 0.02 and share[0, 0] < share[14, 14]


@pytest.mark.parametrize("name", GREY)
def test_digits_of_16_greys_can_use_them(name: str) -> None:
    images = ImageSet(drawn((40, 8, 8, 1), 0, 16), np.zeros(40, np.int32), 16)
    batches = Batches(images, 16, encode=lambda pixels: pixels, augment=augmentation(name), prefetch=0)
    first, *_ = batches.epoch(0)
    assert first.inputs.min() >= 0 and first.inputs.max() <= 1
    assert np.array_equal(first.inputs, next(batches.epoch(0)).inputs)
    assert not np.array_equal(first.inputs, next(batches.epoch(1)).inputs)


def test_a_users_augmentation_must_keep_to_the_greys() -> None:
    images = ImageSet(drawn((4, 8, 8, 1), 0, 16), np.zeros(4, np.int32), 16)

    def epoch(change: int) -> list:
        augment = lambda pixels, rng: pixels + np.uint8(change)  # noqa: E731
        return list(Batches(images, 4, encode=lambda pixels: pixels, augment=augment, prefetch=0).epoch(0))

    assert len(epoch(0)) == 1
    with pytest.raises(UserError, match=r"augment must return pixels of 0\.\.16, not 1\d\d"):
        epoch(100)
