"""What a reader of files is asked for, and what it found, not yet checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count, is_number, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import path_trouble
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.decoding.recordings import LARGEST_SIDE, LONGEST

# pixels of a side
MOST_SIDE = LARGEST_SIDE
# of images that come without a test half
TEST_SHARE = 0.2

# the names of classes that are digits
DIGITS = tuple("0123456789")


class Raw(NamedTuple):
    """Images, labels, and the files that they came from, for messages; the classes' names, if they have any."""

    images: NDArray[Any]
    labels: NDArray[Any]
    where: str
    class_names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Options:
    """How images or recordings of one's own become a data set; None leaves it to the files.

    size: (height, width) of what is cut out of each image, or of the sensor of events. channels: 1, grey, or 3. test:
    the share of each class that is held out as test half, above 0 and below 1, where the files have none. time_window:
    how many microseconds of each recording count.
    Raises UserError for others.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    test: float | None = None
    time_window: int | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            sides = self.size if isinstance(self.size, (tuple, list)) and len(self.size) == 2 else None
            if sides is None:
                raise UserError(f"size must be [height, width], such as [32, 32], not {shown(self.size)}")
            height, width = (check_count("each side of size", side, most=MOST_SIDE) for side in sides)
            object.__setattr__(self, "size", (height, width))
        if self.channels is not None:
            if not is_whole(self.channels) or int(self.channels) not in (1, 3):
                raise UserError(f"channels must be 1 or 3, or null, not {shown(self.channels)}")
            object.__setattr__(self, "channels", int(self.channels))
        if self.test is not None:
            if not (is_number(self.test) and 0 < self.test < 1):
                raise UserError(f"test must be a number above 0, below 1, not {shown(self.test)}")
            object.__setattr__(self, "test", float(self.test))
        if self.time_window is not None:
            window = check_count("time_window, in microseconds,", self.time_window, most=LONGEST)
            object.__setattr__(self, "time_window", window)

    def given(self) -> tuple[str, ...]:
        """The names of those that are not left to the files."""
        return tuple(name for name in OPTIONS if getattr(self, name) is not None)

    def halves(
        self, labels: NDArray[np.int64], class_called: Callable[[int], str]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The indices of the training and of the test half, int64, sorted, of images that come without a test half.

        Of each class round(share * count) images, but at least one and not all, are for the test; share: `test`, by
        default TEST_SHARE. Which ones depends on their number alone: neither on a run's seed, so that accuracies
        compare, nor on the other classes.
        Raises UserError for a class of one image, called as `class_called` says.
        """
        share = TEST_SHARE if self.test is None else self.test
        held_out = np.zeros(len(labels), bool)
        for label in np.unique(labels):
            (members,) = np.nonzero(labels == label)
            if len(members) < 2:
                raise UserError(f"{class_called(int(label))} holds one image, where training and test need one each")
            count = min(max(round(share * len(members)), 1), len(members) - 1)
            held_out[members[np.random.default_rng(0).permutation(len(members))[:count]]] = True
        return np.nonzero(~held_out)[0], np.nonzero(held_out)[0]


OPTIONS = tuple(field.name for field in fields(Options))


def folder_of(path: Path | str, name: str) -> Path:
    """A path that a user gave by that name. Raises UserError for one that can be none."""
    if not isinstance(path, (str, Path)):
        raise UserError(f"{name} must be a folder's path, not {shown(path)}")
    if trouble := path_trouble(path):
        raise UserError(f"{name} {shown(str(path))} {trouble}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{name} {shown(str(path))} has no meaning here: {message_of(error)}") from None
