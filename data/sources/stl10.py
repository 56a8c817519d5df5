"""STL-10: files of bytes in one folder, found where torchvision puts it. The unlabelled images are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, is_there, open_file, reason
from ttfs_cupy.data.sources.archive import unpack
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import downloading, torchvision

FOLDER, ARCHIVE = "stl10_binary", "stl10_binary.tar.gz"
HALVES = ("train", "test")
FILES = tuple(f"{half}_{kind}.bin" for half in HALVES for kind in "Xy")
# an image: 3 colour planes of 96 columns of 96 pixels
PLANES = (3, 96, 96)
ROW = 3 * 96 * 96
CLASSES = 10
# a hundred times the labels that are published
MOST_LABELS = 1_000_000


def read_stl10(root: Path, download: bool) -> tuple[Raw, Raw]:
    """The 5,000 training and 8,000 test images, uint8 (N, 96, 96, 3).

    Looked for, in this order: torchvision's folder under `root`; the published archive there, of which the labelled
    images are unpacked; torchvision's download, if allowed. Raises UserError for missing or damaged files.
    """
    folder, archive = root / FOLDER, root / ARCHIVE
    if not is_there(folder) and is_file(archive):
        try:
            unpack(archive, folder, FILES)
        except UserError:
            # an interrupted download leaves half an archive: torchvision sees that and fetches it anew
            if not download:
                raise
    missing = [file for file in FILES if not is_file(folder / file)]
    if missing and download:
        with downloading("stl10", root):
            torchvision("datasets").STL10(str(root), split="test", download=True)
    elif missing and is_there(folder):
        raise UserError(f"{folder} lacks {', '.join(missing)}: delete the folder and unpack {ARCHIVE} anew")
    elif missing:
        raise UserError(f"the data set stl10 is not in {folder}: set data.download: true, or put {ARCHIVE} into {root}")
    train, test = (_half(folder, half) for half in HALVES)
    return train, test


def _half(folder: Path, half: str) -> Raw:
    images_file, labels_file = folder / f"{half}_X.bin", folder / f"{half}_y.bin"
    labels = _bytes(labels_file, None).astype(np.int64)
    wrong = labels[(labels < 1) | (labels > CLASSES)]
    if len(wrong):
        raise UserError(f"{labels_file} holds the label {wrong[0]}, where classes are 1 to {CLASSES}")
    images = _bytes(images_file, len(labels)).reshape(-1, *PLANES)
    return Raw(images.transpose(0, 3, 2, 1), labels - 1, f"{folder} ({half} files)")


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
        raise UserError(f"{path} cannot be read ({reason(error)})") from error
    if len(content) != size:
        raise UserError(f"{path} became shorter while it was read")
    return np.frombuffer(content, np.uint8)
