"""Which training images are held out for validation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import is_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

from .indices import read_indices
from .seeds import Stream, generator
from .sources.images import ImageSet


class Split(NamedTuple):
    """Indices of a training set's images, int64, each sorted, together all of them."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def split(labels: NDArray[np.int32], held_out: float | str | Path, seed: int) -> Split:
    """Divides the images with these labels, int32 (N,), into those to train on and those held out for validation.

    held_out: a share, from 0 to below 1, of which round(share N) images are held out; how many, a whole number from 1;
    or the path of a file of their indices. Of a share or a count each class has its own share, as near as whole images
    allow (the largest remainders are rounded up, of equals those of lower classes), but where there are enough for that
    at least one image on either side; which ones, the seed draws.

    Raises UserError for what is none of these, and if one of the two would be empty though held_out is not 0.
    """
    if isinstance(held_out, (str, Path)):
        chosen = read_indices(Path(held_out), len(labels))
    else:
        count = _count(held_out, len(labels))
        order = generator(seed, Stream.SPLIT).permutation(len(labels))
        # class by class, each class's images as they were drawn
        order = order[np.argsort(labels[order], kind="stable")]
        sizes = np.bincount(labels)
        places = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        chosen = np.sort(order[places < np.repeat(_of_classes(sizes, count), sizes)])
    is_held_out = np.zeros(len(labels), bool)
    is_held_out[chosen] = True
    return Split(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out))


def fingerprint(train: ImageSet, test: ImageSet, held_out: NDArray[np.int64]) -> dict[str, Any]:
    """What tells whether a data set and its split are those of earlier: SHA-256 of the sorted indices that are held
    out, as little-endian int64; of all labels, as little-endian int32, and of all pixels, training before test; and the
    counts."""
    labels, pixels = hashlib.sha256(), hashlib.sha256()
    for half in (train, test):
        labels.update(half.labels.astype("<i4").tobytes())
        pixels.update(np.ascontiguousarray(half.images).data)
    return {
        "training_images": len(train),
        "test_images": len(test),
        "labels": labels.hexdigest(),
        "pixels": pixels.hexdigest(),
        "held_out": hashlib.sha256(np.sort(held_out).astype("<i8").tobytes()).hexdigest(),
    }


def _count(held_out: float, images: int) -> int:
    """How many images that is of so many."""
    if is_whole(held_out) and held_out != 0:
        count = int(held_out)
        if not 0 < count < images:
            raise UserError(
                f"{count} of {images} training images cannot be held out for validation: at least one must be, and one "
                "left for training"
            )
        return count
    if not (is_number(held_out) and 0 <= held_out < 1):
        raise UserError(f"the validation share must be at least 0 and less than 1, not {shown(held_out)}")
    share, count = float(held_out), round(float(held_out) * images)
    if share > 0 and images == 0:
        raise UserError("there are no images to divide into training and validation")
    if share > 0 and count == 0:
        raise UserError(
            f"a validation share of {share} of {images} images is none at all: it must be at least {1 / images:.2g}, "
            "which is one image"
        )
    if share > 0 and count == images:
        raise UserError(f"a validation share of {share} of {images} images leaves none for training: lower it")
    return count


def _of_classes(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many images of each class are held out, `count` of them, of classes of these sizes."""
    least, most = np.minimum(1, np.maximum(0, sizes - 1)), np.maximum(0, sizes - 1)
    if count < least.sum():
        least = np.zeros_like(sizes)
    if count > most.sum():
        most = sizes
    shares, total = sizes * count, max(1, int(sizes.sum()))
    quotas = shares / total
    chosen = np.clip(shares // total, least, most)
    # one image at a time, to or from the class that is farthest from its share
    while (missing := count - chosen.sum()) > 0:
        chosen[np.argmax(np.where(chosen < most, quotas - chosen, -np.inf))] += 1
    for _ in range(-missing):
        chosen[np.argmin(np.where(chosen > least, quotas - chosen, np.inf))] -= 1
    return chosen
