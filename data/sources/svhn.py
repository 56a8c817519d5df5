"""SVHN, house numbers cropped to their digits: two MATLAB files, found where torchvision puts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file
from ttfs_cupy.data.sources.mat import read_mat
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.torchvision_access import downloading, torchvision

HALVES = ("train", "test")


def read_svhn(root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images, uint8 (N, 32, 32, 3); the label 10 of the files is the digit 0.

    Raises UserError for missing or damaged files.
    """
    files = {half: root / f"{half}_32x32.mat" for half in HALVES}
    missing = [half for half in HALVES if not is_file(files[half])]
    if missing and not download:
        raise UserError(
            f"the data set svhn is not in {root}: set data.download: true, or put "
            f"{' and '.join(file.name for file in files.values())} there"
        )
    for half in missing:
        with downloading("svhn", root):
            # the class itself would read the file, too, by scipy
            url, name, md5 = torchvision("datasets").SVHN.split_list[half]
            torchvision("datasets.utils").download_url(url, str(root), name, md5)
    train, test = (_half(files[half]) for half in HALVES)
    return train, test


def _half(path: Path) -> Raw:
    found = read_mat(path, ("X", "y"))
    images, labels = found["X"], found["y"].reshape(-1)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise UserError(f"{path} must hold X, uint8 (32, 32, 3, N), not {images.dtype} {images.shape}")
    wrong = labels[~np.isin(labels, np.arange(11))]
    if len(wrong):
        raise UserError(f"{path} holds the label {wrong[0]}, where digits are 1 to 10")
    digits = labels.astype(np.int64)
    digits[digits == 10] = 0
    return Raw(images.transpose(3, 0, 1, 2), digits, str(path))
