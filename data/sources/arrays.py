"""Images of one's own as NumPy's arrays, in memory, in a .npz file, or in a folder of .npy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, is_there
from ttfs_cupy.common.shown import shown, shown_path
from ttfs_cupy.data.decoding.npy import read_npy, read_npz
from ttfs_cupy.data.sources.raw import Options, Raw

NAMES = ("images", "labels", "test_images", "test_labels", "class_names")
MOST_CHANNELS = 4

# floats that are made bytes at once
PIECE = 1 << 20


def read_arrays(root: Path, options: Options) -> tuple[Raw, Raw]:
    """The training and the test half of root, a .npz file or a folder: uint8 (N, H, W, C), int64 (N,).

    Raises UserError, which names the array, where they are missing, damaged, or no images and labels.
    """
    where = shown_path(root)
    arrays = _arrays(root, where)
    images, labels = pixels(f"{where}: images", arrays["images"]), whole(f"{where}: labels", arrays["labels"])
    _check_counts(where, images, labels)
    names = _class_names(where, arrays.get("class_names"), labels)
    if "test_images" not in arrays:
        train, test = options.halves(labels, lambda label: f"{where}: the class {label}")
        halves = [Raw(images[half], labels[half], where, names) for half in (train, test)]
        return halves[0], halves[1]
    if options.test is not None:
        raise UserError(f"data.test has no effect, as {where} has test_images: leave it out")
    test_images = pixels(f"{where}: test_images", arrays["test_images"])
    test_labels = whole(f"{where}: test_labels", arrays["test_labels"])
    if test_images.shape[1:] != images.shape[1:]:
        raise UserError(f"{where}: test_images are {test_images.shape[1:]} each, but images are {images.shape[1:]}")
    return Raw(images, labels, where, names), Raw(test_images, test_labels, f"{where} (test arrays)", names)


def pixels(name: str, images: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C) of bytes, or of floats from 0 to 1, (N, H, W) or (N, H, W, C). Raises UserError for others."""
    if images.ndim not in (3, 4):
        raise UserError(f"{name} must have the shape (N, H, W) or (N, H, W, C), not {images.shape}")
    if images.ndim == 4 and not 1 <= images.shape[3] <= MOST_CHANNELS:
        raise UserError(
            f"{name} must have their channels last, (N, H, W, C) with 1 to {MOST_CHANNELS} of them, not {images.shape}"
        )
    if 0 in images.shape:
        raise UserError(f"{name} hold nothing: their shape is {images.shape}")
    four = images if images.ndim == 4 else images[..., np.newaxis]
    if images.dtype == np.uint8:
        return np.ascontiguousarray(four)
    if images.dtype.kind != "f":
        raise UserError(f"{name} must be uint8, or floats from 0 to 1, not {images.dtype}")
    scaled = np.empty(four.shape, np.uint8)
    step = max(1, PIECE // four[0].size)
    for start in range(0, len(four), step):
        part = four[start : start + step]
        # written so that NaN, which compares false to everything, is refused
        if not (part.min() >= 0 and part.max() <= 1):
            raise UserError(f"{name} are floats that reach from {part.min():g} to {part.max():g}, not from 0 to 1")
        # in more digits than half precision has
        scaled[start : start + step] = np.rint(part.astype(np.float64) * 255)
    return scaled


def whole(name: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    """int64 (N,) of whole numbers from 0. Raises UserError for others."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise UserError(f"{name} must be whole numbers of shape (N,), not {labels.dtype} of shape {labels.shape}")
    if labels.size and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{name} must count from 0 to less than 2^31, and one is {wrong}")
    return labels.astype(np.int64)


def _arrays(root: Path, where: str) -> dict[str, NDArray[Any]]:
    if not is_there(root):
        raise UserError(f"data.root {where} is not there: it must be a .npz file, or a folder of .npy files")
    if is_file(root):
        arrays = read_npz(root, NAMES)
    else:
        there = [name for name in NAMES if is_file(root / f"{name}.npy")]
        arrays = {name: read_npy(root / f"{name}.npy") for name in there}
    lacking = [name for name in NAMES[:2] if name not in arrays]
    if not lacking and ("test_images" in arrays) != ("test_labels" in arrays):
        lacking = [name for name in NAMES[2:4] if name not in arrays]
    if lacking:
        raise UserError(
            f"{where} lacks the array {' and '.join(lacking)}: it must hold images and labels, and may hold "
            "test_images with test_labels, and class_names"
        )
    return arrays


def _check_counts(where: str, images: NDArray[Any], labels: NDArray[np.int64]) -> None:
    """Raises UserError unless each image has a label, and each label from 0 to the highest has images."""
    if len(images) != len(labels):
        raise UserError(f"{where} holds {len(images)} images but {len(labels)} labels")
    found = np.unique(labels)
    if len(found) < 2:
        raise UserError(f"{where}: labels are all {found[0]}, where at least two classes are needed")
    gaps = np.nonzero(found != np.arange(len(found)))[0]
    if len(gaps):
        raise UserError(f"{where}: no label is {gaps[0]}, but one is {found[-1]}: classes count from 0, without gaps")


def _class_names(where: str, names: NDArray[Any] | None, labels: NDArray[np.int64]) -> tuple[str, ...] | None:
    classes = int(labels.max()) + 1
    if names is None:
        return None
    if names.shape != (classes,) or names.dtype.kind != "U":
        found = f"{shown(str(names.dtype))} of shape {names.shape}"
        raise UserError(f"{where}: class_names must be text of shape ({classes},), one for each class, not {found}")
    return tuple(names.tolist())
