"""Which training images are used, and which of them are held out for validation."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import is_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

from .indices import SUBSET, VALIDATION, Purpose, read_indices
from .seeds import Stream, generator
from .sources.images import ImageSet

_STREAMS = {VALIDATION: Stream.SPLIT, SUBSET: Stream.SUBSET}


class Split(NamedTuple):
    """Indices of a training set's images, int64, each sorted, together all that are used."""

    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def split(
    labels: NDArray[np.int32], held_out: float | str | Path, seed: int, subset: float | str | Path | None = None
) -> Split:
    """Divides the images with these labels, int32 (N,), into those to train on and those held out for validation.

    held_out: a share, from 0 to below 1, of which round(share N) images are held out; how many, a whole number from 1;
    or the path of a file of their indices. Of a share or a count each class has its own share, as near as whole images
    allow (the largest remainders are rounded up, of equals those of lower classes), but where there are enough for that
    at least one image on either side; which ones, the seed draws.
    subset: the images that are used at all, told and drawn in the same way, of which held_out is a share; None: all.

    Raises UserError for what is none of these, if one of the two would be empty though held_out is not 0, and for a
    file that holds out an image which is not used.
    """
    if subset is not None and is_number(subset) and subset == 0:
        raise UserError("a subset of no image leaves none to train on: give a share above 0, or a number from 1")
    used = np.arange(len(labels)) if subset is None else _chosen(labels, subset, seed, SUBSET)
    if isinstance(held_out, (str, Path)):
        chosen = _chosen(labels, held_out, seed, VALIDATION)
        unused = np.setdiff1d(chosen, used)
        if len(unused):
            raise UserError(f"'{held_out}' holds out image {unused[0]} for validation, which data.subset leaves out")
    else:
        chosen = used[_chosen(labels[used], held_out, seed, VALIDATION)]
    return Split(np.setdiff1d(used, chosen), np.sort(chosen))


def _chosen(labels: NDArray[np.int32], wanted: float | str | Path, seed: int, purpose: Purpose) -> NDArray[np.int64]:
    """The indices, sorted, that `wanted` asks for, as `split` takes held_out."""
    if isinstance(wanted, (str, Path)):
        return np.sort(read_indices(Path(wanted), len(labels), purpose))
    count = _count(wanted, len(labels), purpose)
    order = generator(seed, _STREAMS[purpose]).permutation(len(labels))
    # class by class, each class's images as they were drawn
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = np.bincount(labels)
    places = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[places < np.repeat(_of_classes(sizes, count), sizes)])


def fingerprint(
    train: ImageSet, test: ImageSet, held_out: NDArray[np.int64], used: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """What tells whether a data set and its split are those of earlier: SHA-256 of the sorted indices that are held
    out, as little-endian int64; of all labels, as little-endian int32, and of all pixels, training before test; and the
    counts. used: of a subset of the training images, whose digest is then a part, too."""
    labels, pixels = hashlib.sha256(), hashlib.sha256()
    for half in (train, test):
        labels.update(half.labels.astype("<i4").tobytes())
        pixels.update(np.ascontiguousarray(half.images).data)
    parts = {"held_out": held_out} if used is None else {"held_out": held_out, "subset": used}
    return {
        "training_images": len(train),
        "test_images": len(test),
        "labels": labels.hexdigest(),
        "pixels": pixels.hexdigest(),
        **{name: hashlib.sha256(np.sort(part).astype("<i8").tobytes()).hexdigest() for name, part in parts.items()},
    }


def _count(wanted: float, images: int, purpose: Purpose) -> int:
    """How many images that is of so many."""
    if is_whole(wanted) and wanted != 0:
        count = int(wanted)
        if not 0 < count < images:
            raise UserError(f"{count} of {images} training images {purpose.too_many}")
        return count
    if not (is_number(wanted) and 0 <= wanted < 1):
        raise UserError(f"the {purpose.name} share must be at least 0 and less than 1, not {shown(wanted)}")
    share, count = float(wanted), round(float(wanted) * images)
    if share > 0 and images == 0:
        raise UserError("there are no images to divide into training and validation")
    if share > 0 and count == 0:
        raise UserError(
            f"a {purpose.name} share of {share} of {images} images is none at all: it must be at least "
            f"{1 / images:.2g}, which is one image"
        )
    if share > 0 and count == images:
        raise UserError(f"a {purpose.name} share of {share} of {images} images {purpose.no_rest}")
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
