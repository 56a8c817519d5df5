"""mixup and CutMix: what images become, what their labels say of it, and that both follow the seed alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import MIXES, Batches, ImageSet, MixedLabels, augmentation, mixing
from ttfs_cupy.data.mixing import ALPHAS

NAMES = MIXES[1:]
many = settings(max_examples=60, deadline=None)
batches = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))


def drawn(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of [0, 1], some black, some white; each image of a class of its own."""
    random = np.random.default_rng(seed)
    images = np.clip(random.random(shape) * 1.4 - 0.2, 0, 1).astype(np.float32)
    return images, np.arange(shape[0], dtype=np.int32)


@pytest.mark.parametrize("name", NAMES)
@many
@given(batches, st.integers(0, 2**32), st.sampled_from([*ALPHAS, 0.2, 1.0]))
def test_a_mix_is_what_its_labels_say(name: str, shape: tuple[int, ...], seed: int, alpha: float) -> None:
    images, labels = drawn(shape, seed)
    given_images, given_labels = images.copy(), labels.copy()
    mix: Any = mixing(name, alpha)
    merged, mixed = mix(images, labels, np.random.default_rng(seed))
    assert np.array_equal(images, given_images) and np.array_equal(labels, given_labels)
    assert merged.dtype == np.float32 and merged.shape == shape and merged.flags.c_contiguous
    assert [array.dtype for array in mixed.arrays] == [np.int32, np.int32, np.float32]
    assert len(mixed) == shape[0] and all(array.shape == (shape[0],) for array in mixed.arrays)
    assert np.array_equal(mixed.labels, labels) and sorted(mixed.others) == labels.tolist()
    assert mixed.shares.min() >= 0 and mixed.shares.max() <= 1
    assert merged.min() >= 0 and merged.max() <= 1
    for own, partner, found, share in zip(images, images[mixed.others], merged, mixed.shares, strict=True):
        blended = np.abs(share * own + (1 - share) * partner - found).max() < 1e-6
        assert (name != "cutmix" and blended) or (name != "mixup" and is_cut(own, partner, found, share))
        assert not found[(own == 0) & (partner == 0)].any()


def is_cut(own: np.ndarray, partner: np.ndarray, found: np.ndarray, share: float) -> bool:
    """Whether a rectangle of 1 - share of the image is the partner's, and the rest the image's own."""
    height, width, _ = own.shape
    theirs, ours = (found == partner).all(axis=2), (found == own).all(axis=2)
    for top in range(height + 1):
        for left in range(width + 1):
            for bottom in range(top, height + 1):
                area = round((1 - float(share)) * height * width)
                wide, rest = divmod(area, bottom - top) if bottom > top else (0, area)
                right = left + wide
                if rest or right > width:
                    continue
                inside = np.zeros((height, width), bool)
                inside[top:bottom, left:right] = True
                if (theirs | ~inside).all() and (ours | inside).all():
                    return True
    return False


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    images, labels = np.zeros((20_000, 2, 2, 1), np.float32), np.zeros(20_000, np.int32)
    mix: Any = mixing("mixup", alpha)
    shares = mix(images, labels, np.random.default_rng(0))[1].shares
    assert abs(shares.mean() - 0.5) < 0.01
    assert shares.var() == pytest.approx(0.25 / (2 * alpha + 1), rel=0.05)


def test_cuts_are_as_published() -> None:
    """The authors' code, image by image: sides cut off at the border, the share counted after that."""
    count, size = 20_000, 28
    mix: Any = mixing("cutmix", 1.0)
    images = np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, size, size, 1), np.float32) / count
    merged, mixed = mix(images, np.arange(count, dtype=np.int32), np.random.default_rng(0))
    random, expected = np.random.default_rng(1), []
    for share in random.beta(1, 1, count):
        half = int(size * np.sqrt(1 - share)) // 2
        middle = random.integers(size, size=2)
        low, high = np.clip(middle - half, 0, size), np.clip(middle + half, 0, size)
        expected.append(1 - np.prod(high - low) / size**2)
    found = np.quantile(mixed.shares, [0.05, 0.25, 0.5, 0.75])
    assert found == pytest.approx(np.quantile(expected, [0.05, 0.25, 0.5, 0.75]), abs=0.015)
    moved = mixed.others != mixed.labels
    kept = (merged == images).mean(axis=(1, 2, 3))
    assert np.abs(kept - mixed.shares)[moved].max() < 1e-6


def test_both_cuts_about_half() -> None:
    mix: Any = mixing("both", 1.0)
    images = np.repeat(np.linspace(0.1, 1, 4000, dtype=np.float32), 49).reshape(4000, 7, 7, 1)
    merged, _ = mix(images, np.zeros(4000, np.int32), np.random.default_rng(0))
    sides = (merged == merged[:, :1, :1]).all(axis=(1, 2, 3))
    # a mixed image of one grey each is of one grey; of those that are cut some are whole
    assert 0.5 < sides.mean() < 0.75


# In batches


def image_set(count: int = 40) -> ImageSet:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 17, (count, 8, 8, 1), dtype=np.uint8)
    return ImageSet(pixels, random.integers(0, 10, count).astype(np.int32), 16)


def keep(pixels: np.ndarray) -> np.ndarray:
    return pixels


def bits(batches: Batches, epoch: int, first: int = 0) -> list[bytes]:
    found = list(batches.epoch(epoch))[first:]
    return [one.inputs.tobytes() + b"".join(each.tobytes() for each in one.labels.arrays) for one in found]


@pytest.mark.parametrize("name", NAMES)
def test_batches_follow_seed_epoch_and_number_alone(name: str) -> None:
    def of(seed: int = 3, prefetch: int = 0) -> Batches:
        options: Any = {"shuffle": True, "augment": augmentation("shift_flip_erase"), "mix": mixing(name, 0.4)}
        return Batches(image_set(), 16, encode=keep, seed=seed, prefetch=prefetch, **options)

    straight = of(prefetch=2)
    epochs = [bits(straight, epoch) for epoch in range(3)]
    assert epochs[2] == bits(of(), 2) and epochs[0] != epochs[1]
    assert epochs[0] != bits(of(seed=4), 0)
    batches = list(of().epoch(0))
    assert [len(batch.labels) for batch in batches] == [16, 16, 8]
    # each batch has numbers of its own
    assert not np.array_equal(batches[0].labels.shares[:8], batches[2].labels.shares)


def test_a_mix_changes_neither_order_nor_augmentation() -> None:
    seen: list[list[np.ndarray]] = [[], []]
    for places, mix in zip(seen, (None, spy(seen[1])), strict=True):
        encode = (lambda pixels, places=places: places.append(pixels.copy()) or pixels) if mix is None else keep
        options: Any = {"shuffle": True, "augment": augmentation("shift"), "mix": mix}
        list(Batches(image_set(), 16, encode=encode, prefetch=0, **options).epoch(1))
    assert all(np.array_equal(*pair) for pair in zip(*seen, strict=True))


def spy(places: list[np.ndarray]) -> Callable[..., Any]:
    def mix(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, MixedLabels]:
        places.append(images.copy())
        return images, MixedLabels(labels, labels, np.ones(len(labels), np.float32))

    return mix


def test_no_mix_leaves_plain_labels() -> None:
    batch = next(Batches(image_set(), 16, encode=keep, mix=mixing("none")).epoch(0))
    assert isinstance(batch.labels, np.ndarray) and batch.labels.dtype == np.int32


def test_what_is_no_mix_is_refused() -> None:
    with pytest.raises(UserError, match="mix must be one of none, mixup, cutmix, both, not 'cut'"):
        mixing("cut")
    for alpha in (0, -1, 0.001, 101, np.nan, "1", None):
        with pytest.raises(UserError, match=r"mix_alpha must be a number from 0\.01 to 100"):
            mixing("mixup", alpha)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="mix must be None or a function, not str"):
        Batches(image_set(), 16, encode=keep, mix="mixup")  # type: ignore[arg-type]
    wrong: list[Callable[..., Any]] = [
        lambda images, labels, rng: None,
        lambda images, labels, rng: images,
        lambda images, labels, rng: (images, labels),
        lambda images, labels, rng: (images[:1], MixedLabels(labels, labels, labels)),
        lambda images, labels, rng: (images.astype(np.float64), MixedLabels(labels, labels, labels)),
    ]
    for mix in wrong:
        with pytest.raises(UserError, match=r"mix must return float32 \(16, 8, 8, 1\) and MixedLabels, not"):
            next(Batches(image_set(), 16, encode=keep, mix=mix, prefetch=0).epoch(0))
