"""Recordings of event cameras in folders of their classes, as images of when each pixel first spoke.

Time-to-first-spike coding asks for no more of a recording: the time of the first event of each pixel and polarity. It
is kept as an image's brightness is, so that latency encoding makes spike times of it again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there
from ttfs_cupy.data.decoding.recordings import ENDINGS, Events, read_recording
from ttfs_cupy.data.sources.class_folders import ClassFiles, Kind, find_class_files
from ttfs_cupy.data.sources.raw import Options, Raw

Size = tuple[int, int]
RECORDINGS = Kind("recording", ENDINGS)
EARLIEST = 255
# how many times as large as half of the images are they may become, to be as large as the largest
MOST_PADDING = 16


def find_events(root: Path, _options: Options) -> tuple[ClassFiles, ClassFiles]:
    """The recordings in root/train/CLASS and root/test/CLASS, at any depth. Raises UserError, which names what
    is missing or does not fit."""
    train, test = _half(root, "train"), _half(root, "test")
    of_train = find_class_files(RECORDINGS, train)
    return of_train, find_class_files(RECORDINGS, test, of_train.class_names)


def read_events(root: Path, options: Options) -> tuple[Raw, Raw]:
    """What `find_events` finds: uint8 (N, H, W, 2), darker and brighter.

    options.size: height and width of the sensor; None: what the recordings need. options.time_window: how many
    microseconds of a recording count, from its first event on; None: all of it.
    Raises UserError for folders and files that are missing, damaged or do not fit.
    """
    halves = find_events(root, options)
    images = [[_image(Path(file), options) for file in half.files] for half in halves]
    height, width = options.size or _common_size(root, [image for half in images for image in half])
    train, test = (
        Raw(
            _stacked(of_half, height, width),
            half.labels,
            f"{half.folder} ({len(of_half)} recordings)",
            half.class_names,
        )
        for half, of_half in zip(halves, images, strict=True)
    )
    return train, test


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


def _half(root: Path, name: str) -> Path:
    """root/train or, as N-MNIST unpacks, root/Train."""
    for folder in (root / name, root / name.capitalize()):
        if is_there(folder):
            return folder
    raise UserError(
        f"there is no {root / name}: put recordings ({', '.join(ENDINGS)}) into {root}/train/CLASS and "
        f"{root}/test/CLASS, a folder for each class"
    )


def _image(file: Path, options: Options) -> NDArray[np.uint8]:
    events = read_recording(file)
    _check_inside(file, events, options.size)
    return first_spikes(events, options.size, options.time_window)


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
