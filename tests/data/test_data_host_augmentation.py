import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import AUGMENTATIONS, augmentation
from ttfs_cupy.data.host_augmentation import auto_augment, crop, cutout, flip

SHAPES = [(32, 32, 3), (28, 28, 1), (8, 8, 1), (24, 40, 3), (31, 33, 3), (3, 5, 1), (1, 1, 1)]


def noise(count, shape=(32, 32, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_keeps_shape_type_and_its_argument_and_follows_the_seed(name, shape):
    images = noise(12, shape)
    before = images.copy()
    first, again = (augmentation(name)(images, np.random.default_rng(5)) for _ in range(2))
    assert first.shape == images.shape and first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(images, before)


@pytest.mark.parametrize("name", ["cifar", "crop_flip"])
def test_another_seed_gives_other_images(name):
    images = noise(12)
    change = augmentation(name)
    assert not np.array_equal(change(images, np.random.default_rng(1)), change(images, np.random.default_rng(2)))


def test_none_changes_nothing():
    images = noise(3)
    assert augmentation("none")(images, np.random.default_rng(0)) is images


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UserError, match="no augmentation 'mixup'; there are none, cifar, crop_flip"):
        augmentation("mixup")


def shift_of(image, cropped, padding):
    """The (row, column) at which `cropped` starts in the grey-bordered `image`; None if nowhere."""
    down, right = padding
    padded = np.pad(image, ((down, down), (right, right), (0, 0)), constant_values=128)
    height, width, _ = image.shape
    for row in range(2 * down + 1):
        for column in range(2 * right + 1):
            if np.array_equal(padded[row : row + height, column : column + width], cropped):
                return row, column
    return None


@pytest.mark.parametrize(("shape", "padding"), [((32, 32, 3), (4, 4)), ((16, 24, 1), (2, 3))])
def test_crop_shifts_by_up_to_the_padding_and_fills_with_grey(shape, padding):
    images = noise(400, shape)
    cropped = crop(images, np.random.default_rng(0))
    shifts = [shift_of(*pair, padding) for pair in zip(images, cropped, strict=True)]
    assert None not in shifts
    rows, columns = zip(*shifts, strict=True)
    assert set(rows) == set(range(2 * padding[0] + 1))
    assert set(columns) == set(range(2 * padding[1] + 1))
    assert rows != columns


def test_crop_shows_grey_only_at_the_border():
    cropped = crop(np.zeros((300, 32, 32, 1), np.uint8), np.random.default_rng(0))
    assert set(np.unique(cropped)) == {0, 128}
    assert not cropped[:, 4:-4, 4:-4].any()


def test_flip_mirrors_about_half_left_to_right():
    images = noise(1000, (4, 6, 3))
    flipped = flip(images, np.random.default_rng(0))
    mirrored = np.all(flipped == images[:, :, ::-1], axis=(1, 2, 3))
    same = np.all(flipped == images, axis=(1, 2, 3))
    assert np.all(mirrored ^ same)
    assert 440 < mirrored.sum() < 560


def test_cutout_blackens_one_rectangle_of_half_the_size():
    holes = cutout(np.full((4000, 32, 32, 3), 255, np.uint8), np.random.default_rng(0)) == 0
    assert np.array_equal(holes[..., 0], holes[..., 1]) and np.array_equal(holes[..., 0], holes[..., 2])
    holes = holes[..., 0]
    rows, columns = holes.any(2), holes.any(1)
    assert np.array_equal(holes, rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):
        starts_and_ends = np.diff(side.astype(int), axis=1, prepend=0, append=0) != 0
        assert np.all(starts_and_ends.sum(1) == 2)
        lengths = side.sum(1)
        assert lengths.max() == 16 and lengths.min() == 8
        # the centre is uniform over the 32 positions, the hole clipped to the image
        expected = np.mean([min(32, centre + 8) - max(0, centre - 8) for centre in range(32)])
        assert abs(lengths.mean() - expected) < 0.2


def test_cutout_leaves_the_rest_alone():
    images = noise(50) | 1
    cut = cutout(images, np.random.default_rng(0))
    assert np.all((cut == images) | (cut == 0))
    assert np.all((cut == 0).all(3).sum((1, 2)) >= 64)


@pytest.mark.parametrize("channels", [1, 3])
def test_auto_augment_is_torchvisions(channels, monkeypatch):
    images = noise(60, (32, 32, channels))
    ours = auto_augment(images, np.random.default_rng(3))

    rng = np.random.default_rng(3)
    drawn = zip(
        rng.integers(25, size=60).tolist(),
        torch.from_numpy(rng.random((60, 2))),
        torch.from_numpy(rng.integers(2, size=(60, 2))),
        strict=True,
    )
    theirs = transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10, fill=128)
    monkeypatch.setattr(theirs, "get_params", lambda count: next(drawn))
    for image, ours_changed in zip(images, ours, strict=True):
        expected = np.asarray(theirs(Image.fromarray(image.squeeze()))).reshape(image.shape)
        assert np.array_equal(ours_changed, expected)
    assert np.mean([np.array_equal(*pair) for pair in zip(images, ours, strict=True)]) < 0.5


def test_auto_augment_neither_uses_nor_changes_torchs_random_numbers():
    images = noise(20)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = auto_augment(images, np.random.default_rng(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(auto_augment(images, np.random.default_rng(0)), first)


def test_auto_augment_needs_grey_or_colour_images():
    with pytest.raises(UserError, match="1 or 3 channels, not 2"):
        augmentation("cifar")(noise(2, (8, 8, 2)), np.random.default_rng(0))
