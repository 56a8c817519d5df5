"""STL-10: files of bytes in one folder, found where torchvision puts it. The unlabelled images are left alone."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import fetch, find_archived

FOLDER, ARCHIVE = "stl10_binary", "stl10_binary.tar.gz"
HALVES = ("train", "test")
FILES = tuple(f"{half}_{kind}.bin" for half in HALVES for kind in "Xy")
# an image: 3 colour planes of 96 columns of 96 pixels
PLANES = (3, 96, 96)
ROW = 3 * 96 * 96
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
# a hundred times the labels that are published
MOST_LABELS = 1_000_000


def find_stl10(root: Path, download: bool) -> list[Path]:
    """The files of labelled images, as `find_archived` finds them. Raises UserError as it does."""
    fetching = partial(fetch, "stl10", root, "STL10", split="test") if download else None
    return find_archived("stl10", root / FOLDER, ARCHIVE, FILES, fetching)


def read_stl10(root: Path, download: bool) -> tuple[Raw, Raw]:
    """The 5,000 training and 8,000 test images, uint8 (N, 96, 96, 3), as `find_stl10` finds them.

    Raises UserError for damaged files, too.
    """
    files = find_stl10(root, download)
    train, test = (_half(half, *files[at : at + 2]) for half, at in zip(HALVES, (0, 2), strict=True))
    return train, test


def _half(half: str, images_file: Path, labels_file: Path) -> Raw:
    labels = _bytes(labels_file, None).astype(np.int64)
    wrong = labels[(labels < 1) | (labels > len(CLASSES))]
    if len(wrong):
        raise UserError(f"{labels_file} holds the label {wrong[0]}, where classes are 1 to {len(CLASSES)}")
    images = _bytes(images_file, len(labels)).reshape(-1, *PLANES)
    return Raw(images.transpose(0, 3, 2, 1), labels - 1, f"{images_file.parent} ({half} files)", CLASSES)


def _bytes(path: Path, images: int | None) -> NDArray[np.uint8]:
    """All of a file: of so many images, or of labels. Raises UserError, naming it, where it is too short or long."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if images is None and size > MOST_LABELS:
                raise UserError(f"{path} is damaged: {size} bytes are too many for labels")
            if images is not None and size != images * ROW:
                raise UserError(
                    f"{path} is damaged, {size} bytes where {images} labels need as many images of {ROW} bytes: "
                    f"delete {path.parent} and unpack {ARCHIVE} anew"
                )
            content = file.read(size)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
    if len(content) != size:
        raise UserError(f"{path} became shorter while it was read")
    return np.frombuffer(content, np.uint8)
