"""Corrupted images beside float64 references, and what is promised of seeds, indices and levels."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.batches import numbered, pictures
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy import Batches, Corruption, Encoder, ImageSet, UserError, corrupted
from ttfs_cupy.data import CORRUPTIONS, corruption
from ttfs_cupy.data.corruption import corrupted_batches, described

SHAPE = (9, 7, 3)
LEVELS = {"gaussian": 0.15, "salt": 0.3, "blur": 0.8, "contrast": 0.4}


def generator(seed: int, place: int, index: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(place, index)))


def shares(images: ImageSet) -> np.ndarray:
    return images.images / np.float64(images.maximum)


def only(name: str, images: ImageSet, level: float, seed: int = 0) -> ImageSet:
    return corrupted(images, [Corruption(name, level)], seed)


# Beside references: one image (H, W, C) in [0, 1] at a time


def gaussian(pixels: np.ndarray, level: float, draw: np.random.Generator) -> np.ndarray:
    return np.clip(pixels + level * draw.standard_normal(pixels.shape, np.float32).astype(np.float64), 0, 1)


def salt(pixels: np.ndarray, level: float, draw: np.random.Generator) -> np.ndarray:
    result = pixels.copy()
    for place, number in np.ndenumerate(draw.random(pixels.shape[:2], np.float32)):
        if number < level / 2:
            result[place] = 0
        elif number >= 1 - level / 2:
            result[place] = 1
    return result


def blur(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    height, width = pixels.shape[:2]
    return np.einsum("ij,jkc,lk->ilc", blurring(height, level), pixels, blurring(width, level))


def blurring(size: int, sigma: float) -> np.ndarray:
    """What each pixel of a row takes from each."""
    reach = math.ceil(4 * sigma)
    weights = {offset: math.exp(-(offset**2) / (2 * sigma**2)) for offset in range(-reach, reach + 1)}
    matrix = np.zeros((size, size))
    for pixel in range(size):
        for offset, weight in weights.items():
            matrix[pixel, min(max(pixel + offset, 0), size - 1)] += weight / sum(weights.values())
    return matrix


def contrast(pixels: np.ndarray, level: float, _: np.random.Generator) -> np.ndarray:
    return (1 - level) * pixels + level * pixels.mean()


REFERENCES: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "gaussian": gaussian,
    "salt": salt,
    "blur": blur,
    "contrast": contrast,
}


@pytest.mark.parametrize("maximum", [255, 16, 1])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_is_its_reference(name: str, maximum: int) -> None:
    images, most = pictures(5, SHAPE, maximum), 2.5 if name == "blur" else 1
    for level in (0.05, LEVELS[name], most):
        found = only(name, images, level, seed=3)
        for index, pixels in enumerate(shares(images)):
            expected = REFERENCES[name](pixels, level, generator(3, 0, index)) * found.maximum
            # the nearest byte; of two that are as near either
            assert np.abs(found.images[index] - expected).max() <= 0.5 + 1e-3
    assert found.maximum == {255: 255, 16: 240, 1: 255}[maximum]
    np.testing.assert_array_equal(found.labels, images.labels)


@pytest.mark.parametrize("sigma", [0.3, 1, 2.7])
def test_a_blur_is_scipys(sigma: float) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    images, reach = pictures(2, (20, 23, 1)), math.ceil(4 * sigma)
    expected = ndimage.gaussian_filter(
        shares(images), (0, sigma, sigma, 0), mode="nearest", radius=(0, reach, reach, 0)
    )
    assert np.abs(only("blur", images, sigma).images - 255 * expected).max() <= 0.5 + 1e-3


def test_they_follow_one_another() -> None:
    images = pictures(3, SHAPE)
    chosen = [Corruption(name, LEVELS[name]) for name in ("contrast", "salt", "gaussian", "gaussian")]
    found = corrupted(images, chosen, 5)
    for index, pixels in enumerate(shares(images)):
        for place, one in enumerate(chosen):
            pixels = REFERENCES[one.name](pixels, one.level, generator(5, place, index))
        assert np.abs(found.images[index] - 255 * pixels).max() <= 0.5 + 1e-3
    assert (found.images != corrupted(images, chosen[::-1], 5).images).any()


# What each does


def grey(count: int = 40, value: int = 128) -> ImageSet:
    return ImageSet(np.full((count, 20, 20, 2), value, np.uint8), np.zeros(count, np.int32))


def test_gaussian_noise_has_its_sigma() -> None:
    noise = only("gaussian", grey(), 0.1).images / 255 - 128 / 255
    # of 32,000 values, five standard errors
    assert abs(noise.mean()) < 5 * 0.1 / math.sqrt(noise.size)
    assert abs(noise.std() / 0.1 - 1) < 5 / math.sqrt(2 * noise.size)
    # neighbours, channels and images have nothing in common
    for axis in range(4):
        first, second = (
            noise.take(indices, axis) for indices in (range(noise.shape[axis] - 1), range(1, noise.shape[axis]))
        )
        assert abs((first * second).mean()) < 5 * 0.01 / math.sqrt(first.size)


@pytest.mark.parametrize("level", [0.1, 0.5, 1])
def test_salt_and_pepper_have_their_share(level: float) -> None:
    found = only("salt", grey(), level).images
    assert set(np.unique(found)) <= {0, 128, 255}
    # a pixel turns with all of its channels
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    pixels = found[..., 0]
    for value in (0, 255):
        error = 5 * math.sqrt(level / 2 * (1 - level / 2) / pixels.size)
        assert abs((pixels == value).mean() - level / 2) < error
    assert (pixels == 128).any() == (level < 1)


def test_salt_of_a_higher_level_is_more_of_the_same() -> None:
    less, more = (only("salt", grey(), level).images for level in (0.2, 0.6))
    assert (more[less != 128] == less[less != 128]).all()
    assert (more != 128).sum() > 2 * (less != 128).sum()


def test_without_contrast_an_image_is_flat() -> None:
    images = pictures(4, SHAPE)
    found = only("contrast", images, 1).images
    for image, own in zip(found, images.images, strict=True):
        assert (image == round(own.mean())).all()


def test_a_flat_image_is_its_own_blur() -> None:
    for value in (0, 1, 200, 255):
        for sigma in (0.01, 1e-300, 3, 32):
            np.testing.assert_array_equal(only("blur", grey(2, value), sigma).images, value)


# Promises


@given(st.integers(1, 255), st.sampled_from(CORRUPTIONS), st.integers(0, 99))
def test_level_0_is_no_change(maximum: int, name: str, seed: int) -> None:
    """What the network gets is the same, bit for bit."""
    images = pictures(3, (4, 5, 2), maximum)
    found = only(name, images, 0, seed)
    encode = Encoder(t_win=2.5)
    before, after = (Batches(each, 3, encode=encode) for each in (images, found))
    np.testing.assert_array_equal(*(next(batches.epoch(0)).inputs for batches in (before, after)))
    np.testing.assert_array_equal(corrupted(images, []).images / np.float64(found.maximum), shares(images))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_of_an_image_its_index_and_the_seed_decide(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(11, SHAPE)
    whole = only(name, images, LEVELS[name], 7).images
    np.testing.assert_array_equal(only(name, images.take(np.arange(4)), LEVELS[name], 7).images, whole[:4])
    # however many are worked on at a time
    monkeypatch.setattr(corruption, "PIECE", 3 * math.prod(SHAPE))
    np.testing.assert_array_equal(only(name, images, LEVELS[name], 7).images, whole)
    other = only(name, images, LEVELS[name], 8).images
    assert (other != whole).any() == Corruption(name, LEVELS[name]).is_drawn
    # two images with the same pixels are not disturbed alike
    twins = only(name, grey(2), LEVELS[name], 7).images
    assert (twins[0] != twins[1]).any() == Corruption(name, LEVELS[name]).is_drawn


def test_the_set_itself_stays_as_it_was() -> None:
    images = pictures(4, SHAPE)
    before = images.images.copy()
    for name in CORRUPTIONS:
        only(name, images, LEVELS[name])
    np.testing.assert_array_equal(images.images, before)


def test_batches_of_corrupted_images_are_otherwise_as_they_were() -> None:
    images = numbered(9)
    batches = Batches(images, 4, encode=Encoder(t_win=2.0), members=np.array([7, 2, 5, 1, 0]))
    assert corrupted_batches(batches, []) is batches
    worse = corrupted_batches(batches, [Corruption("gaussian", 0.2)], 3)
    assert (len(worse), worse.batch_size) == (2, 4)
    expected = corrupted(images, [Corruption("gaussian", 0.2)], 3).images[[7, 2, 5, 1, 0]] / np.float32(255) * 2
    np.testing.assert_allclose(np.concatenate([batch.inputs for batch in worse.epoch(0)]), expected, rtol=1e-6)
    np.testing.assert_array_equal(worse.labels, batches.labels)


def test_it_says_what_it_is() -> None:
    chosen = [Corruption("gaussian", 0.1), Corruption("salt", 0.05), Corruption("blur", 1), Corruption("contrast", 0.3)]
    assert described(chosen, 4) == (
        "images with Gaussian noise of sigma 0.1, 5 % of pixels black or white, a Gaussian blur of sigma 1 pixels, "
        "30 % less contrast (seed 4)"
    )
    assert described(chosen[2:], 4).endswith("30 % less contrast") and described([], 4) == ""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("fog", 0.1), "a corruption must be one of gaussian, salt, blur, contrast, not 'fog'"),
        (("gaussian", -0.1), "the level of gaussian must be a number from 0 to 1, not -0.1"),
        (("salt", 1.5), "the level of salt must be a number from 0 to 1, not 1.5"),
        (("contrast", float("nan")), "the level of contrast must be a number from 0 to 1, not nan"),
        (("blur", 40), "the level of blur must be a number from 0 to 32, not 40"),
        (("blur", "much"), "the level of blur must be a number from 0 to 32, not 'much'"),
    ],
)
def test_what_is_no_corruption_is_refused(values: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        Corruption(*values)
    assert str(refused.value) == message


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(UserError, match="noise_seed must be a whole number from 0, not -1"):
        corrupted(pictures(1, SHAPE), [], -1)
    images: Any = np.zeros((1, 2, 2, 1), np.uint8)
    with pytest.raises(TypeError, match="images must be of type ImageSet, not ndarray"):
        corrupted(images, [])
    names: Any = ["salt"]
    with pytest.raises(TypeError, match="a corruption must be of type Corruption, not str"):
        corrupted(pictures(1, SHAPE), names)
