"""The data sets by name, and loading one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import path_trouble
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.sources.cifar import read_cifar
from ttfs_cupy.data.sources.digits import read_digits
from ttfs_cupy.data.sources.events import read_events
from ttfs_cupy.data.sources.images import Dataset, ImageSet, checked
from ttfs_cupy.data.sources.mnist import read_mnist
from ttfs_cupy.data.sources.raw import Raw
from ttfs_cupy.data.sources.stl10 import read_stl10
from ttfs_cupy.data.sources.svhn import read_svhn

Statistics = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Source:
    """One entry of DATASETS: how to read a data set, and what it must turn out to be.

    read(root, download) returns the training and the test images; it takes `options`, names of load_dataset's, too.
    shape: (H, W, C) of one image; None: that of the training images. classes: None: as many as these have.
    maximum: the pixel value that means 1.0.
    mean, std: a number for each channel, over the training pixels scaled to [0, 1]; None: computed.
    """

    read: Callable[..., tuple[Raw, Raw]]
    shape: tuple[int, int, int] | None
    classes: int | None
    maximum: int = 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: tuple[str, ...] = ()


# The only list of names. Means and deviations are the published constants, so that a run standardises as the
# papers do; where publications differ, they are computed.
DATASETS: dict[str, Source] = {
    "mnist": Source(partial(read_mnist, "mnist"), (28, 28, 1), 10, mean=(0.1307,), std=(0.3081,)),
    "fmnist": Source(partial(read_mnist, "fmnist"), (28, 28, 1), 10, mean=(0.2860,), std=(0.3530,)),
    "kmnist": Source(partial(read_mnist, "kmnist"), (28, 28, 1), 10),
    "emnist": Source(partial(read_mnist, "emnist"), (28, 28, 1), 47),
    "qmnist": Source(partial(read_mnist, "qmnist"), (28, 28, 1), 10),
    "cifar10": Source(
        partial(read_cifar, "cifar10"),
        (32, 32, 3),
        10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": Source(
        partial(read_cifar, "cifar100"),
        (32, 32, 3),
        100,
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "svhn": Source(read_svhn, (32, 32, 3), 10, mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)),
    "stl10": Source(read_stl10, (96, 96, 3), 10),
    "events": Source(read_events, None, None, options=("size", "time_window")),
    "digits": Source(read_digits, (8, 8, 1), 10, maximum=16),
}


def load_dataset(
    name: str,
    root: Path,
    download: bool = False,
    *,
    size: tuple[int, int] | None = None,
    time_window: int | None = None,
) -> Dataset:
    """Read the data set `name` from under `root`, in torchvision's folder layout.

    `download` lets torchvision fetch what is missing. size: (height, width) of the sensor of events, time_window: how
    many microseconds of each recording count; None: as much as the recordings have.
    Raises UserError for an unknown name, an option that the data set does not take, and for files that are missing,
    damaged or not that data set.
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise UserError(f"there is no data set {shown(name)}; there are {', '.join(DATASETS)}")
    source = DATASETS[name]
    options = {"size": size, "time_window": time_window}
    for option, value in options.items():
        if value is not None and option not in source.options:
            raise UserError(f"data.{option} has no effect with the data set {name}: leave it out")
    try:
        halves = source.read(_folder(root), download, **{option: options[option] for option in source.options})
        shape = source.shape or halves[0].images.shape[1:]
        classes = source.classes or int(halves[0].labels.max()) + 1
        train, test = (checked(raw, shape, classes, source.maximum) for raw in halves)
        mean, std = _statistics(source, train)
    except MemoryError as error:
        raise UserError(f"the data set {name} under {root} does not fit into memory ({message_of(error)})") from error
    return Dataset(name, train, test, classes, mean, std)


def _folder(root: Path) -> Path:
    """Raises UserError for a path that can be none."""
    if not isinstance(root, (str, Path)):
        raise UserError(f"root must be a folder's path, not {shown(root)}")
    if trouble := path_trouble(root):
        raise UserError(f"data.root {shown(str(root))} {trouble}")
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise UserError(f"data.root {shown(str(root))} has no meaning here: {message_of(error)}") from None


def _statistics(source: Source, train: ImageSet) -> Statistics:
    """Mean and standard deviation of each channel, float32 (C,) each."""
    if source.mean is not None and source.std is not None:
        return np.array(source.mean, np.float32), np.array(source.std, np.float32)
    pixels = train.images / source.maximum
    return pixels.mean((0, 1, 2)).astype(np.float32), pixels.std((0, 1, 2)).astype(np.float32)
