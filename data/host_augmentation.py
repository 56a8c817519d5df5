"""Random changes to training images, a batch at a time.

An augmentation takes uint8 images (N, H, W, C) and a NumPy generator, and returns images of the same shape and
type, whose pixels reach no further, leaving its argument as it was. It draws from that generator alone, so that the
same seed gives the same bits. Those in NEED_BYTES are made for pixels of 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data.sources.torchvision_access import torchvision

Images = NDArray[np.uint8]
Augmentation = Callable[[Images, np.random.Generator], Images]

# mid grey, published with this recipe for what a shifted image uncovers
GREY = 128
# Cutout is published as a product with 0, before standardisation. Under latency coding black is silence: the
# hole sends no spikes.
BLACK = 0

# Of an image's size: 2 pixels at 28x28, 1 at 8x8
SHIFTED = 1 / 14

# Random erasing, as published: how often, the share of the image, height over width, how often a rectangle that is
# too long is drawn anew
ERASED, AREAS, ASPECTS, ATTEMPTS = 0.5, (0.02, 0.4), (0.3, 1 / 0.3), 100


def unchanged(images: Images, _rng: np.random.Generator) -> Images:
    """No augmentation."""
    return images


def crop(images: Images, rng: np.random.Generator) -> Images:
    """Shift each image by up to an eighth of its size in each direction; what is uncovered becomes grey.

    This is the random crop 32 with padding 4 at 32x32. Grey suits photographs; where the background is black, grey
    borders are spikes that no test image has: take `shift`.
    """
    _, height, width, _ = images.shape
    return _moved(images, height // 8, width // 8, GREY, rng)


def shift(images: Images, rng: np.random.Generator) -> Images:
    """Shift each image by up to a fourteenth of its size in each direction, rounded; what is uncovered is black.

    Objects on black mostly lie near the border: further, and parts of them would be lost.
    """
    _, height, width, _ = images.shape
    return _moved(images, round(height * SHIFTED), round(width * SHIFTED), BLACK, rng)


def _moved(images: Images, top: int, left: int, fill: int, rng: np.random.Generator) -> Images:
    """Each image shifted by up to `top` rows and `left` columns in each direction, over a ground of `fill`."""
    count, height, width, channels = images.shape
    padded = np.full((count, height + 2 * top, width + 2 * left, channels), fill, np.uint8)
    padded[:, top : top + height, left : left + width] = images
    rows, columns = rng.integers(2 * top + 1, size=count), rng.integers(2 * left + 1, size=count)
    # windows[n, row, column] is a view of the crop that starts there; copying one out of each image is nine
    # times faster than gathering pixels by arrays of their indices
    windows = sliding_window_view(padded, (height, width, channels), axis=(1, 2, 3))
    return windows[np.arange(count), rows, columns, 0]


def flip(images: Images, rng: np.random.Generator) -> Images:
    """Mirror each image, left to right, with probability 1/2."""
    mirrored = rng.random(len(images)) < 0.5
    flipped = images.copy()
    flipped[mirrored] = images[mirrored, :, ::-1]
    return flipped


def cutout(images: Images, rng: np.random.Generator) -> Images:
    """Blacken one hole of half the image's size in each direction, 16x16 at 32x32.

    Its centre is uniform over the image, so the border may cut a part of the hole off, as published.
    """
    count, height, width, _ = images.shape
    hole = _near(height, count, rng)[:, :, None] & _near(width, count, rng)[:, None, :]
    return np.where(hole[..., None], np.uint8(BLACK), images)


def _near(size: int, count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where, along an axis of `size`, each of `count` holes lies: bool (count, size)."""
    start = rng.integers(size, size=(count, 1)) - size // 2 // 2
    position = np.arange(size)
    return (start <= position) & (position < start + size // 2)


def erase(images: Images, rng: np.random.Generator) -> Images:
    """Blacken, with probability 1/2, one rectangle: random erasing (Zhong et al. 2020).

    As published, its area is 0.02 to 0.4 of the image, its height 0.3 to 3.3 times its width, both uniform, and it
    lies anywhere within. Of the published fillings this is 0, which is no spike; random pixels would be many.
    """
    count, height, width, _ = images.shape
    tall, wide = np.zeros(count, np.int64), np.zeros(count, np.int64)
    left_over = np.flatnonzero(rng.random(count) < ERASED)
    for _ in range(ATTEMPTS):
        if not left_over.size:
            break
        area = rng.uniform(*AREAS, left_over.size) * height * width
        aspect = rng.uniform(*ASPECTS, left_over.size)
        rows, columns = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        fits = (rows < height) & (columns < width)
        tall[left_over[fits]], wide[left_over[fits]] = rows[fits], columns[fits]
        left_over = left_over[~fits]
    down, across = _interval(height, tall, rng), _interval(width, wide, rng)
    return np.where((down[:, :, None] & across[:, None, :])[..., None], np.uint8(BLACK), images)


def _interval(size: int, lengths: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Of each length one that lies anywhere within an axis of `size`: bool (count, size)."""
    start = rng.integers(size - lengths + 1)[:, None]
    position = np.arange(size)
    return (start <= position) & (position < start + lengths[:, None])


def auto_augment(images: Images, rng: np.random.Generator) -> Images:
    """AutoAugment's CIFAR-10 policy, as torchvision applies it to PIL images, of 1 or 3 channels.

    Raises UserError for another number of channels.
    """
    from PIL import Image

    count, _, _, channels = images.shape
    if channels not in (1, 3):
        raise UserError(f"AutoAugment needs images of 1 or 3 channels, not {channels}: take crop_flip")
    policy = _auto_augment_class()(rng, count)
    result = np.empty_like(images, order="C")
    for image, changed in zip(images.squeeze(-1) if channels == 1 else images, result, strict=True):
        changed[...] = np.asarray(policy(Image.fromarray(image))).reshape(changed.shape)
    return result


@cache
def _auto_augment_class() -> Any:
    """torchvision's AutoAugment, its random numbers drawn from a NumPy generator.

    torchvision draws them in get_params, from torch's generator, which the whole process shares: seeding that
    one here would change what others draw, and two loaders' threads would take numbers from one another.
    """
    transforms = torchvision("transforms")
    import torch

    @cache
    def space(bins: int, size: tuple[int, int]) -> Any:
        return transforms.AutoAugment()._augmentation_space(bins, size)

    class AutoAugment(transforms.AutoAugment):  # type: ignore[name-defined]
        def __init__(self, rng: np.random.Generator, count: int) -> None:
            super().__init__(transforms.AutoAugmentPolicy.CIFAR10, fill=GREY)
            policies = rng.integers(len(self.policies), size=count).tolist()
            chances = torch.from_numpy(rng.random((count, 2)))
            signs = torch.from_numpy(rng.integers(2, size=(count, 2)))
            self.draws = iter(zip(policies, chances, signs, strict=True))

        def get_params(self, transform_num: int) -> Any:
            """For the next image: the policy's number, and for its two operations the chance and the sign."""
            return next(self.draws)

        def _augmentation_space(self, num_bins: int, image_size: tuple[int, int]) -> Any:
            """The table of magnitudes. torchvision builds it for every image, in a quarter of its time."""
            return space(num_bins, tuple(image_size))

    return AutoAugment


def cifar(images: Images, rng: np.random.Generator) -> Images:
    """Crop, flip, AutoAugment and Cutout, in the published order."""
    return cutout(auto_augment(crop_flip(images, rng), rng), rng)


def crop_flip(images: Images, rng: np.random.Generator) -> Images:
    """Crop and flip."""
    return flip(crop(images, rng), rng)


def shift_flip(images: Images, rng: np.random.Generator) -> Images:
    """Shift and flip: for what is the same in a mirror, such as clothes, and not for digits."""
    return flip(shift(images, rng), rng)


def shift_erase(images: Images, rng: np.random.Generator) -> Images:
    """Shift and erase."""
    return erase(shift(images, rng), rng)


def shift_flip_erase(images: Images, rng: np.random.Generator) -> Images:
    """Shift, flip and erase."""
    return erase(shift_flip(images, rng), rng)


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": unchanged,
    "cifar": cifar,
    "crop_flip": crop_flip,
    "flip": flip,
    "shift": shift,
    "shift_flip": shift_flip,
    "shift_erase": shift_erase,
    "shift_flip_erase": shift_flip_erase,
}

# what mixes its own grey, or bytes of photographs, into the images
NEED_BYTES: tuple[Augmentation, ...] = (crop, auto_augment, cifar, crop_flip)


def augmentation(name: object) -> Augmentation:
    """The augmentation called `name`; UserError if there is none."""
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise UserError(f"there is no augmentation {name!r}; there are {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]
