"""Recordings of event cameras in folders of their classes, as images of when each pixel first spoke.

Time-to-first-spike coding asks for no more of a recording: the time of the first event of each pixel and polarity. It
is kept as an image's brightness is, so that latency encoding makes spike times of it again.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there, reason
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.recordings import ENDINGS, LARGEST_SIDE, LONGEST, Events, read_recording

Size = tuple[int, int]
EARLIEST = 255
# how many times as large as half of the images are they may become, to be as large as the largest
MOST_PADDING = 16


def read_events(root: Path, _download: bool, size: Size | None, time_window: int | None) -> tuple[Raw, Raw]:
    """The recordings in root/train/CLASS and root/test/CLASS, at any depth: uint8 (N, H, W, 2), darker and brighter.

    size: height and width of the sensor; None: what the recordings need. time_window: how many microseconds of a
    recording count, from its first event on; None: all of it. Classes are numbered by their folders' sorted names.
    Raises UserError for folders and files that are missing, damaged or do not fit.
    """
    size, time_window = _checked_size(size), _checked_window(time_window)
    train, test = _half(root, "train"), _half(root, "test")
    classes = _classes(train)
    if len(classes) < 2:
        raise UserError(f"{train} must hold a folder for each class, at least 2, not {len(classes)}")
    if unknown := [name for name in _classes(test) if name not in classes]:
        raise UserError(f"{test} has classes that {train} has not: {listed(map(shown, unknown))}")
    halves = [_read(folder, classes, size, time_window) for folder in (train, test)]
    height, width = size or _common_size(root, [image for images, _ in halves for image in images])
    train_raw, test_raw = (
        Raw(_stacked(images, height, width), np.array(labels, np.int64), f"{folder} ({len(images)} recordings)")
        for folder, (images, labels) in zip((train, test), halves, strict=True)
    )
    return train_raw, test_raw


def first_spikes(events: Events, size: Size | None = None, time_window: int | None = None) -> NDArray[np.uint8]:
    """An image (H, W, 2) of the earliness of each pixel's first event that is darker (0) and brighter (1).

    The window's time is in 255 steps of equal length: 255 in the first, 1 in the last, 0 where there is no event
    within it. size: (H, W), which all events must lie in; None: just so large. time_window: in microseconds; None: up
    to the last event.
    """
    height, width = size or (int(events.y.max()) + 1, int(events.x.max()) + 1)
    window = int(events.t.max()) + 1 if time_window is None else time_window
    first = np.full(height * width * 2, window)
    np.minimum.at(first, (events.y * width + events.x) * 2 + events.p, events.t)
    return (EARLIEST - EARLIEST * first // window).astype(np.uint8).reshape(height, width, 2)


def _checked_size(size: Size | None) -> Size | None:
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, (tuple, list)) else ()
    if len(sides) != 2 or not all(is_whole(side) and 1 <= int(side) <= LARGEST_SIDE for side in sides):
        raise UserError(f"data.size must be height and width, each from 1 to {LARGEST_SIDE}, not {shown(size)}")
    return int(sides[0]), int(sides[1])


def _checked_window(time_window: int | None) -> int | None:
    if time_window is None:
        return None
    return check_count("data.time_window, in microseconds,", time_window, most=LONGEST)


def _half(root: Path, name: str) -> Path:
    """root/train or, as N-MNIST unpacks, root/Train."""
    for folder in (root / name, root / name.capitalize()):
        if is_there(folder):
            return folder
    raise UserError(
        f"there is no {root / name}: put recordings ({', '.join(ENDINGS)}) into {root}/train/CLASS and "
        f"{root}/test/CLASS, a folder for each class"
    )


def _classes(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be read ({reason(error)})") from error


def _read(
    folder: Path, classes: list[str], size: Size | None, time_window: int | None
) -> tuple[list[NDArray[np.uint8]], list[int]]:
    """An image of each recording, and its label: class after class, and by the files' names within one."""
    images, labels = [], []
    for name in _classes(folder):
        files = _recordings(folder / name)
        if not files:
            raise UserError(f"{folder / name} holds no recordings ({', '.join(ENDINGS)})")
        for file in files:
            events = read_recording(file)
            _check_inside(file, events, size)
            images.append(first_spikes(events, size, time_window))
            labels.append(classes.index(name))
    if not images:
        raise UserError(f"{folder} holds no folder of a class")
    return images, labels


def _recordings(folder: Path) -> list[Path]:
    """By their paths; other files, and hidden ones, are left alone."""

    def refuse(error: OSError) -> None:
        raise UserError(f"{error.filename} cannot be read ({reason(error)})") from error

    found = []
    for place, _, names in os.walk(folder, onerror=refuse):
        found += [Path(place) / name for name in names if not name.startswith(".")]
    return sorted(file for file in found if file.suffix.lower() in ENDINGS)


def _check_inside(file: Path, events: Events, size: Size | None) -> None:
    if size is None:
        return
    outside = np.flatnonzero((events.y >= size[0]) | (events.x >= size[1]))
    if len(outside):
        row, column = events.y[outside[0]], events.x[outside[0]]
        raise UserError(f"{file} has an event in row {row}, column {column}, outside data.size {list(size)}")


def _common_size(root: Path, images: list[NDArray[np.uint8]]) -> Size:
    """Of the smallest image that holds all. One event that is far outside must not cost memory for all of them."""
    height, width = max(len(image) for image in images), max(image.shape[1] for image in images)
    if height * width * 2 > MOST_PADDING * np.median([image.size for image in images]):
        raise UserError(
            f"the recordings under {root} reach to row {height - 1} and column {width - 1}, and most of them by far "
            "not as far: set data.size, which tells of those that are outside"
        )
    return height, width


def _stacked(images: list[NDArray[np.uint8]], height: int, width: int) -> NDArray[np.uint8]:
    """All as large as the largest; what is added at the right and below is silent."""
    stacked = np.zeros((len(images), height, width, 2), np.uint8)
    for number, image in enumerate(images):
        stacked[number, : image.shape[0], : image.shape[1]] = image
    return stacked
