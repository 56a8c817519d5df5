"""MNIST and the sets that are published like it: four idx files each, gzipped or not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file
from ttfs_cupy.data.decoding.idx import Kind, read_idx
from ttfs_cupy.data.sources.raw import DIGITS, Raw
from ttfs_cupy.data.sources.torchvision_access import fetch

# Debian's package dataset-fashion-mnist
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
DEBIAN_HINT = ", or install Debian's package dataset-fashion-mnist"

CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
# small letters that look like large ones count as these
LETTERS = (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abdefghnqrt")

# what a label says in QMNIST's files: the class, and seven numbers about who wrote the digit
QMNIST_COLUMNS = 8

IMAGES = Kind("images-idx3-ubyte", 3)
LABELS = Kind("labels-idx1-ubyte", 1)
QMNIST_LABELS = Kind("labels-idx2-int", 2, code=12, dtype=">i4", content="32-bit integers")


@dataclass(frozen=True)
class _Family:
    """A set's files, and how torchvision fetches them.

    folder: torchvision's name of the set's class and of its folder. halves: what the files' names begin with, training
    first. downloads: the arguments of each call that fetches a part. transposed: images lie in the files column by
    column.
    """

    folder: str
    class_names: tuple[str, ...]
    halves: tuple[str, str] = ("train", "t10k")
    labels: Kind = LABELS
    transposed: bool = False
    downloads: tuple[Mapping[str, Any], ...] = ({},)

    def files(self) -> tuple[str, ...]:
        return tuple(f"{half}-{kind.ending}" for half in self.halves for kind in (IMAGES, self.labels))


# EMNIST is published in six splits; `emnist` is the one of 47 classes with as many images of each.
FAMILIES = {
    "mnist": _Family("MNIST", DIGITS),
    "fmnist": _Family("FashionMNIST", CLOTHES),
    "kmnist": _Family("KMNIST", HIRAGANA),
    "emnist": _Family(
        "EMNIST",
        (*DIGITS, *LETTERS),
        ("emnist-balanced-train", "emnist-balanced-test"),
        transposed=True,
        downloads=({"split": "balanced"},),
    ),
    "qmnist": _Family(
        "QMNIST",
        DIGITS,
        ("qmnist-train", "qmnist-test"),
        QMNIST_LABELS,
        downloads=({"what": "train"}, {"what": "test"}),
    ),
}


def find_mnist(name: str, root: Path, download: bool) -> list[Path]:
    """The four files of `name`, one of FAMILIES: images and labels of the training half, and those of the test half.

    Looked for, in this order: torchvision's idx files under `root`; the same, gzipped; Debian's gzipped
    Fashion-MNIST; torchvision's download, if allowed. Raises UserError for missing files.
    """
    family = FAMILIES[name]
    folder = root / family.folder / "raw"
    elsewhere, hint = (DEBIAN_FASHION_MNIST, DEBIAN_HINT) if name == "fmnist" else (None, "")
    for place, suffix in ((folder, ""), (folder, ".gz"), (elsewhere, ".gz")):
        if place is not None and all(is_file(place / f"{file}{suffix}") for file in family.files()):
            return [place / f"{file}{suffix}" for file in family.files()]
    if not download:
        raise UserError(
            f"the data set {name} is not in {folder}: set data.download: true, or put the files "
            f"{', '.join(family.files())} there, gzipped or not{hint}"
        )
    for arguments in family.downloads:
        fetch(name, root, family.folder, **arguments)
    return [folder / file for file in family.files()]


def read_mnist(name: str, root: Path, download: bool) -> tuple[Raw, Raw]:
    """The training and test images of `name`, as `find_mnist` finds them: uint8 (N, H, W, 1), upright.

    Raises UserError for damaged files, too.
    """
    family, files = FAMILIES[name], find_mnist(name, root, download)
    train, test = (_half(family, half, *files[at : at + 2]) for half, at in zip(family.halves, (0, 2), strict=True))
    return train, test


def _half(family: _Family, half: str, images_file: Path, labels_file: Path) -> Raw:
    images, labels = read_idx(images_file, IMAGES), read_idx(labels_file, family.labels)
    if labels.ndim == 2:
        if labels.shape[1] != QMNIST_COLUMNS:
            raise UserError(f"{labels_file} must hold {QMNIST_COLUMNS} numbers a label, not {labels.shape[1]}")
        labels = labels[:, 0].astype(np.int64)
    if family.transposed:
        images = images.transpose(0, 2, 1)
    where = f"{images_file.parent} ({half} files)"
    return Raw(images[..., np.newaxis], labels, where, family.class_names)
