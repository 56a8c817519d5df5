"""Labelled images in memory, and the checks that every data set passes before it is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import counted, shown
from ttfs_cupy.data.sources.arrays import pixels, whole
from ttfs_cupy.data.sources.folder import read_class_folders
from ttfs_cupy.data.sources.raw import Options, Raw, folder_of

# Means and deviations that may be given in place of a data set's own: far beyond what pixels in [0, 1] have.
MEANS, DEVIATIONS = (-1e6, 1e6), (1e-6, 1e6)

Numbers = float | Sequence[float]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images and their labels, not to be changed.

    images: uint8 (N, H, W, C), pixels 0 to `maximum`, the value that means 1.0.
    labels: int32 (N,).
    class_names: by label; None where nobody knows them.
    Raises UserError for arrays of another type or shape, a pixel above `maximum`, a label below 0, and one without a
    name.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]
    maximum: int = 255
    class_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        _check_arrays(images=images, labels=labels)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise UserError(f"images must be uint8 of shape (N, H, W, C), not {images.dtype} of shape {images.shape}")
        if labels.dtype != np.int32 or labels.shape != (len(images),):
            raise UserError(
                f"labels must be int32 of shape ({len(images)},), one for each image, "
                f"not {labels.dtype} of shape {labels.shape}"
            )
        if len(labels) and labels.min() < 0:
            raise UserError(f"labels count from 0, and one is {labels.min()}")
        maximum = check_count("maximum, the pixel value that means 1.0,", self.maximum, most=255)
        object.__setattr__(self, "maximum", maximum)
        # uint8 itself keeps pixels to 255: the scan is spared where it cannot fail
        if self.maximum < 255 and images.size and images.max() > self.maximum:
            raise UserError(f"a pixel has the value {images.max()}, above the maximum {self.maximum}")
        if self.class_names is not None:
            self._check_names(tuple(self.class_names))
        for name in ("images", "labels"):
            # a device may hold a copy of them
            kept = getattr(self, name).view()
            kept.flags.writeable = False
            object.__setattr__(self, name, kept)

    def _check_names(self, names: tuple[str, ...]) -> None:
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"class_names must be texts, not {shown(names)}")
        if len(self.labels) and self.labels.max() >= len(names):
            raise UserError(f"there are {len(names)} class_names, and a label is {self.labels.max()}")
        object.__setattr__(self, "class_names", names)

    @classmethod
    def from_folder(
        cls, path: Path | str, size: tuple[int, int] | None = None, channels: int | None = None
    ) -> ImageSet:
        """The images path/CLASS/..., whose labels count the class folders in the order of their names.

        size: (H, W) that they are resized to cover and cut to; None: all have the same. channels: 1, grey, 3, or None
        for 3 unless all are grey. Raises UserError, which names the file that is no image.
        """
        raw = read_class_folders(folder_of(path, "path"), Options(size, channels))
        return cls(raw.images, raw.labels.astype(np.int32), class_names=raw.class_names)

    @classmethod
    def from_arrays(cls, images: NDArray[Any], labels: NDArray[Any]) -> ImageSet:
        """Images (N, H, W) or (N, H, W, C), uint8 or floats from 0 to 1, with whole labels (N,) from 0.

        Raises UserError for others.
        """
        _check_arrays(images=images, labels=labels)
        return cls(pixels("images", images), whole("labels", labels).astype(np.int32))

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.integer[Any]]) -> ImageSet:
        """The images at `indices`, integers (M,), in that order; a copy. Raises UserError for others."""
        chosen = self.indices(indices)
        return ImageSet(self.images[chosen], self.labels[chosen], self.maximum, self.class_names)

    def indices(self, chosen: NDArray[np.integer[Any]] | None) -> NDArray[np.int64]:
        """Integers (M,) that are images of the set, as int64; None: all of them. Raises UserError for others."""
        if chosen is None:
            return np.arange(len(self))
        found = np.asarray(chosen)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
            raise UserError(f"indices must be integers of shape (M,), not {found.dtype} of shape {found.shape}")
        if found.size and not (found.min() >= 0 and found.max() < len(self)):
            raise UserError(f"indices must lie in 0 to {len(self) - 1}")
        return found.astype(np.int64)


def _check_arrays(**arrays: object) -> None:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise UserError(f"{name} must be a numpy.ndarray, not {type(array).__name__}")


@dataclass(frozen=True, eq=False)
class InputDescription:
    """What a network must know of the images that it is for.

    shape: (C, H, W). classes: their number. maximum: the pixel value that means 1.0.
    mean, std: float32 (C,), over the training pixels scaled to [0, 1]; None where they are not known.
    """

    shape: tuple[int, int, int]
    classes: int
    maximum: int = 255
    mean: NDArray[np.float32] | None = None
    std: NDArray[np.float32] | None = None

    @property
    def channels(self) -> int:
        return self.shape[0]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set's two halves, as published, with what standardisation needs.

    mean, std: float32 (C,), over the training pixels scaled to [0, 1].
    """

    name: str
    train: ImageSet
    test: ImageSet
    classes: int
    mean: NDArray[np.float32]
    std: NDArray[np.float32]

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """By label; None where the data set brings none."""
        return self.train.class_names

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """One image as the network's public boundary sees it: (C, H, W)."""
        height, width, channels = self.train.images.shape[1:]
        return channels, height, width

    @property
    def channels(self) -> int:
        return self.input_shape[0]

    @property
    def description(self) -> InputDescription:
        """What a network for these images must know of them."""
        return InputDescription(self.input_shape, self.classes, self.train.maximum, self.mean, self.std)


_Described = TypeVar("_Described", Dataset, InputDescription)


def given_statistics(mean: Numbers | None, std: Numbers | None) -> tuple[list[float], list[float]] | None:
    """Mean and deviation, a number each or one for each channel, as lists; None where neither is given.

    Raises UserError for one without the other, and for what is no number within MEANS or DEVIATIONS.
    """
    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise UserError("data.mean and data.std must be given together: set both, or neither")
    return _checked("data.mean", mean, MEANS), _checked("data.std", std, DEVIATIONS)


def standardized_by(images: _Described, given: tuple[list[float], list[float]] | None) -> _Described:
    """The same with these numbers, as `given_statistics` gives them, in place of its own.

    Raises UserError unless they are one, or as many as an image has channels.
    """
    if given is None:
        return images
    for name, numbers in zip(("data.mean", "data.std"), given, strict=True):
        if len(numbers) not in (1, images.channels):
            raise UserError(
                f"{name} has {len(numbers)} numbers, and an image here {counted(images.channels, 'channel')}: give one "
                "number, or one for each channel"
            )
    mean, std = (np.full(images.channels, numbers, np.float32) for numbers in given)
    return replace(images, mean=mean, std=std)


def _checked(name: str, value: Numbers, bounds: tuple[float, float]) -> list[float]:
    if not isinstance(value, (list, tuple, np.ndarray)):
        return [check_number(name, value, *bounds)]
    return [check_number(f"each number of {name}", one, *bounds) for one in value]


def checked(raw: Raw, shape: tuple[int, int, int], classes: int, maximum: int) -> ImageSet:
    """`raw` as an ImageSet; UserError, naming its files, if it is not what the data set should be.

    shape: (H, W, C) of one image. Labels must lie in 0..classes-1.
    """
    images, labels, where = raw[:3]
    if len(images) != len(labels):
        raise UserError(f"{where} holds {len(images)} images but {len(labels)} labels")
    if len(images) == 0:
        raise UserError(f"{where} holds no images")
    if images.shape[1:] != shape:
        raise UserError(f"{where} holds images of (height, width, channels) {images.shape[1:]}, not {shape}")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise UserError(f"{where} holds the label {wrong[0]}, outside the {classes} classes 0..{classes - 1}")
    contiguous = np.ascontiguousarray(images, dtype=np.uint8)
    return ImageSet(contiguous, labels.astype(np.int32), maximum, raw.class_names)
