"""Two images in one, and what it is then: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), a batch at a time.

A mix takes float32 images (N, H, W, C) in [0, 1], labels, int32 (N,), and a NumPy generator, and returns images of the
same shape and type with MixedLabels, leaving its arguments as they were. It draws from that generator alone.

An image's partner is another one of its batch, by a permutation. Each image has a share of its own: one for a whole
batch, as published, would make some steps nearly plain and others all halves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_choice, check_number

Pixels = NDArray[np.float32]
LabelsOnHost = NDArray[np.int32]

# Of the Beta distribution that shares come from: below, all are 0 or 1; above, all are halves.
ALPHAS = (0.01, 100.0)


class _Device(Protocol):
    def to_device(self, array: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class MixedLabels:
    """What the images of a batch are when each is made of two.

    labels, others: int32 (N,), the classes of the two. shares: float32 (N,), in [0, 1]: how much of an image is of the
    class in `labels`; the rest is of that in `others`. All NumPy, or all on one device.
    """

    labels: Any
    others: Any
    shares: Any

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: _Device) -> MixedLabels:
        """The same on a device, as device.to_device() copies arrays."""
        return MixedLabels(*map(device.to_device, self.arrays))

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        return self.labels, self.others, self.shares


Mix = Callable[[Pixels, LabelsOnHost, np.random.Generator], tuple[Pixels, MixedLabels]]


def mixup(
    images: Pixels, labels: LabelsOnHost, rng: np.random.Generator, alpha: float = 1.0
) -> tuple[Pixels, MixedLabels]:
    """Each pixel is share·image + (1 - share)·partner, the share being Beta(alpha, alpha)."""
    partner, shares = _drawn(len(images), rng, alpha)
    return _merged(images, labels, partner, np.broadcast_to(shares[:, None, None], images.shape[:3]), shares)


def cutmix(
    images: Pixels, labels: LabelsOnHost, rng: np.random.Generator, alpha: float = 1.0
) -> tuple[Pixels, MixedLabels]:
    """A rectangle is the partner's: of the image's shape, its area 1 - Beta(alpha, alpha), its centre anywhere.

    The border may cut a part off, as published; the share is what is left of the image.
    """
    partner, shares = _drawn(len(images), rng, alpha)
    kept = _outside_of_a_box(images.shape, shares, rng)
    return _merged(images, labels, partner, kept, _means(kept))


def both(
    images: Pixels, labels: LabelsOnHost, rng: np.random.Generator, alpha: float = 1.0
) -> tuple[Pixels, MixedLabels]:
    """mixup for about half of the images, cutmix for the others."""
    partner, shares = _drawn(len(images), rng, alpha)
    outside = _outside_of_a_box(images.shape, shares, rng)
    is_cut = rng.random(len(images)) < 0.5
    kept = np.where(is_cut[:, None, None], outside, shares[:, None, None])
    return _merged(images, labels, partner, kept, np.where(is_cut, _means(outside), shares))


def _drawn(count: int, rng: np.random.Generator, alpha: float) -> tuple[NDArray[np.int64], Pixels]:
    return rng.permutation(count), rng.beta(alpha, alpha, count).astype(np.float32)


def _outside_of_a_box(shape: tuple[int, ...], shares: Pixels, rng: np.random.Generator) -> Pixels:
    """0 in a box of about 1 - share of each image, 1 elsewhere: float32 (N, H, W)."""
    side = np.sqrt(1 - shares.astype(np.float64))
    down, across = (_near(size, (size * side).astype(np.int64), rng) for size in shape[1:3])
    return (~(down[:, :, None] & across[:, None, :])).astype(np.float32)


def _near(size: int, lengths: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Of each length an interval around a place of an axis of `size`, cut off at its ends: bool (N, size)."""
    middle = rng.integers(size, size=len(lengths))[:, None]
    half = lengths[:, None] // 2
    position = np.arange(size)
    return (middle - half <= position) & (position < middle + half)


def _means(kept: Pixels) -> Pixels:
    means: Pixels = kept.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
    return means


def _merged(
    images: Pixels, labels: LabelsOnHost, partner: NDArray[np.int64], kept: Pixels, shares: Pixels
) -> tuple[Pixels, MixedLabels]:
    """kept: how much of each pixel is the image's own, (N, H, W)."""
    own = kept[..., None]
    # of pixels in [0, 1] it stays in [0, 1], rounding included, and of two silent ones silent
    merged = own * images + (1 - own) * images[partner]
    return merged, MixedLabels(labels, labels[partner], shares)


_MIXES = {"mixup": mixup, "cutmix": cutmix, "both": both}
MIXES = ("none", *_MIXES)


def mixing(name: str, alpha: float = 1.0) -> Mix | None:
    """The mix called `name`, None for "none"; its shares are Beta(alpha, alpha). Raises UserError if there is none."""
    check_choice("mix", name, MIXES)
    alpha = check_number("mix_alpha", alpha, *ALPHAS)
    return None if name == "none" else partial(_MIXES[name], alpha=alpha)
