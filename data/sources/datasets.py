"""The data sets by name, and loading one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of, shown
from ttfs_cupy.data.sources import kept
from ttfs_cupy.data.sources.arrays import read_arrays
from ttfs_cupy.data.sources.cifar import find_cifar, read_cifar
from ttfs_cupy.data.sources.digits import read_digits
from ttfs_cupy.data.sources.events import find_events, read_events
from ttfs_cupy.data.sources.folder import find_folder, read_folder
from ttfs_cupy.data.sources.images import Dataset, ImageSet, Numbers, checked, given_statistics, standardized_by
from ttfs_cupy.data.sources.mnist import find_mnist, read_mnist
from ttfs_cupy.data.sources.raw import OPTIONS, Options, Raw, folder_of
from ttfs_cupy.data.sources.stl10 import find_stl10, read_stl10
from ttfs_cupy.data.sources.svhn import find_svhn, read_svhn

Statistics = tuple[NDArray[np.float32], NDArray[np.float32]]

# bytes of pixels whose mean and deviation are computed at once
PIECE = 1 << 24


@dataclass(frozen=True)
class Source:
    """One entry of DATASETS: how to read a data set, and what it must turn out to be.

    read(root, download) returns the training and the test images; read(root, options) of one that takes `options`.
    shape: (H, W, C) of one image; None: as found. classes: their number; None: that of the names that come with the
    images. maximum: the pixel value that means 1.0.
    mean, std: a number for each channel, over the training pixels scaled to [0, 1]; None: computed.
    find, called like read, returns the files that it will read, and puts them there, if need be: by these a decoded
    copy is known that is kept for the next start. None: no copy is kept.
    decodes: whether `read` takes `threads`, how many decode.
    """

    read: Callable[..., tuple[Raw, Raw]]
    shape: tuple[int, int, int] | None = None
    classes: int | None = None
    maximum: int = 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    options: tuple[str, ...] = ()
    find: Callable[..., Sequence[str | Path]] | None = None
    decodes: bool = False


def _gzipped(name: str, root: Path, download: bool) -> list[Path]:
    """Of idx files that are not gzipped, a copy would be read no sooner."""
    return [file for file in find_mnist(name, root, download) if file.suffix == ".gz"]


def _like_mnist(name: str, classes: int = 10, **statistics: Any) -> Source:
    return Source(partial(read_mnist, name), (28, 28, 1), classes, find=partial(_gzipped, name), **statistics)


def _photographs(root: Path, options: Options) -> list[str]:
    return [file for half in find_folder(root, options) for file in half.files]


def _recordings(root: Path, options: Options) -> list[str]:
    return [file for half in find_events(root, options) for file in half.files]


# The only list of names. Means and deviations are the published constants, so that a run standardises as the
# papers do; where publications differ, they are computed.
DATASETS: dict[str, Source] = {
    "mnist": _like_mnist("mnist", mean=(0.1307,), std=(0.3081,)),
    "fmnist": _like_mnist("fmnist", mean=(0.2860,), std=(0.3530,)),
    "kmnist": _like_mnist("kmnist"),
    "emnist": _like_mnist("emnist", 47),
    "qmnist": _like_mnist("qmnist"),
    "cifar10": Source(
        partial(read_cifar, "cifar10"),
        (32, 32, 3),
        10,
        find=partial(find_cifar, "cifar10"),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": Source(
        partial(read_cifar, "cifar100"),
        (32, 32, 3),
        100,
        find=partial(find_cifar, "cifar100"),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
    ),
    "svhn": Source(
        read_svhn, (32, 32, 3), 10, find=find_svhn, mean=(0.4377, 0.4438, 0.4728), std=(0.1980, 0.2010, 0.1970)
    ),
    "stl10": Source(read_stl10, (96, 96, 3), 10, find=find_stl10),
    "digits": Source(read_digits, (8, 8, 1), 10, maximum=16),
    "events": Source(read_events, options=("size", "time_window"), find=_recordings),
    "folder": Source(read_folder, options=("size", "channels", "test"), find=_photographs, decodes=True),
    "arrays": Source(read_arrays, options=("test",)),
}


def options_of(name: str) -> tuple[str, ...]:
    """Which of `OPTIONS` the data set takes; all, if there is none of that name."""
    return DATASETS[name].options if name in DATASETS else OPTIONS


def idle_option(name: str, key: str) -> str:
    """Why that option is refused, as the rest of a sentence."""
    takers = [taker for taker, source in DATASETS.items() if key in source.options]
    return f"has no effect with dataset {name}: leave it out, or choose {' or '.join(takers)}"


def load_dataset(
    name: str,
    root: Path,
    download: bool = False,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    test: float | None = None,
    time_window: int | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    threads: int | None = None,
) -> Dataset:
    """Read the data set `name` from under `root`, in torchvision's folder layout.

    `download` lets torchvision fetch what is missing. `mean` and `std`, given together, stand in place of the data
    set's own: of pixels scaled to [0, 1], a number for all channels, or one for each. `threads` decode photographs;
    None: one on each core. The rest is for images and recordings of one's own: see Options.
    Raises UserError for an unknown name, an option that has no effect, a mean or a std that does not fit, and for files
    that are missing, damaged or not that data set.
    """
    if not isinstance(name, str) or name not in DATASETS:
        raise UserError(f"there is no data set {shown(name)}; there are {', '.join(DATASETS)}")
    options = Options(size, channels, test, time_window)
    idle = [key for key in options.given() if key not in options_of(name)]
    if idle:
        raise UserError(f"{idle[0]} {idle_option(name, idle[0])}")
    if threads is not None:
        threads = check_count("threads", threads)
    statistics = given_statistics(mean, std)
    try:
        dataset = _load(name, folder_of(root, "data.root"), download, options, threads)
        return standardized_by(dataset, statistics)
    except MemoryError as error:
        raise UserError(f"the data set {name} under {root} does not fit into memory ({message_of(error)})") from error


def _load(name: str, root: Path, download: bool, options: Options, threads: int | None) -> Dataset:
    """From the copy that is kept, if there is one, else from the files, of which one is kept then."""
    source = DATASETS[name]
    request = (root, options) if source.options else (root, download)
    if source.find is None:
        return _read(name, source, request, threads)
    key = kept.key_of(name, options, source.find(*request))
    dataset = None if key is None else kept.fetch(key)
    if dataset is None:
        dataset = _read(name, source, request, threads)
        # of files that were changed meanwhile, nobody knows which state was read
        if key is not None and key == kept.key_of(name, options, source.find(*request)):
            kept.keep(key, dataset)
    return dataset


def _read(name: str, source: Source, request: tuple[Any, ...], threads: int | None) -> Dataset:
    raws = source.read(*request, threads) if source.decodes else source.read(*request)
    shape, class_names = source.shape or raws[0].images.shape[1:], raws[0].class_names
    classes = source.classes or (len(class_names) if class_names else int(raws[0].labels.max()) + 1)
    train, test = (checked(raw, shape, classes, source.maximum) for raw in raws)
    mean, std = _statistics(source, train)
    return Dataset(name, train, test, classes, mean, std)


def _statistics(source: Source, train: ImageSet) -> Statistics:
    """Mean and standard deviation of each channel, float32 (C,) each."""
    if source.mean is not None and source.std is not None:
        return np.array(source.mean, np.float32), np.array(source.std, np.float32)
    channels = train.images.shape[3]
    counts = np.zeros((channels, 256), np.int64)
    pixels = train.images.reshape(-1, channels)
    for start in range(0, len(pixels), PIECE // channels):
        piece = pixels[start : start + PIECE // channels]
        counts += [np.bincount(piece[:, channel], minlength=256) for channel in range(channels)]
    # exact in whole numbers until the division: Python's, as squares may not fit 64 bits
    count, values = len(pixels), np.arange(256)
    sums, squares = (counts @ values).tolist(), (counts @ values**2).tolist()
    means = [total / count / source.maximum for total in sums]
    deviations = [
        math.sqrt(count * square - total * total) / count / source.maximum
        for total, square in zip(sums, squares, strict=True)
    ]
    return np.array(means, np.float32), np.array(deviations, np.float32)
