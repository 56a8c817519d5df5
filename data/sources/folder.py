"""Folders of photographs, one for each class, as torchvision's ImageFolder has them."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ttfs_cupy.common.command import loudness
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.cores import chosen_threads
from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.data.decoding.photograph import ENDINGS, decode, load_pillow, quiet
from ttfs_cupy.data.sources.class_folders import ClassFiles, Kind, find_class_files, subfolders
from ttfs_cupy.data.sources.raw import Options, Raw

logger = logging.getLogger("ttfs_cupy")

HALVES = ("train", "test")
IMAGES = Kind("image", ENDINGS)

# images that take long enough to say so
MANY = 5000
# images that a thread decodes before it looks whether it is still wanted
CHUNK = 32


def find_folder(root: Path, options: Options) -> tuple[ClassFiles, ClassFiles]:
    """The files of the training and the test half: those below root/train and root/test, or of all below `root` a
    fixed share of each class for the test. Raises UserError, which names the folder."""
    there = [half for half in HALVES if os.path.isdir(root / half)]  # noqa: PTH112 (which never raises)
    if len(there) == 1 and subfolders(root / there[0]):
        (lacking,) = set(HALVES) - set(there)
        raise UserError(
            f"{shown_path(root)} has {there[0]} but no {lacking}: add it, or let data.root be "
            f"{shown_path(root / there[0])}, of which data.test is the share of a test half"
        )
    if len(there) < 2:
        every = find_class_files(IMAGES, root)
        halves = options.halves(every.labels, lambda label: shown_path(root / every.class_names[label]))
        train, test = (every.take(half) for half in halves)
        return train, test
    if options.test is not None:
        raise UserError(f"data.test has no effect, as {shown_path(root)} has train and test: leave it out")
    train = find_class_files(IMAGES, root / "train")
    return train, find_class_files(IMAGES, root / "test", train.class_names)


def read_folder(root: Path, options: Options, threads: int | None = None) -> tuple[Raw, Raw]:
    """The training and the test half, uint8 (N, H, W, C) each, decoded by so many threads; None: on all cores. Raises
    UserError, which names the file or folder."""
    train, test = find_folder(root, options)
    images = decoded([*train.files, *test.files], options, threads)
    count = len(train.files)
    parts = ((train, images[:count]), (test, images[count:]))
    raws = (Raw(part, half.labels, shown_path(half.folder), half.class_names) for half, part in parts)
    return next(raws), next(raws)


def read_class_folders(folder: Path, options: Options) -> Raw:
    """The images of one folder of class folders. Raises UserError, which names the file or folder."""
    found = find_class_files(IMAGES, folder)
    return Raw(decoded(found.files, options), found.labels, shown_path(folder), found.class_names)


def decoded(files: Sequence[str], options: Options, threads: int | None = None) -> NDArray[np.uint8]:
    """The images in these files, uint8 (N, H, W, C), decoded by so many threads; None: on all cores.

    Without options.channels they are grey if all files are. Raises UserError for the first file that is no image, or,
    without options.size, of another size than the first one.
    """
    load_pillow()
    workers = chosen_threads(threads)[0]
    if len(files) >= MANY:
        logger.info("decoding %d images", len(files))
    with quiet():
        shape = decode(files[0], options.size, options.channels).shape
        if options.channels is None and shape[2] == 1:
            try:
                return _all_of(files, options.size, None, shape, workers)
            except _ColourError:
                shape = (*shape[:2], 3)
        return _all_of(files, options.size, shape[2], shape, workers)


class _ColourError(Exception):
    """A file has colours, where all before it were grey."""


def _all_of(
    files: Sequence[str], size: tuple[int, int] | None, channels: int | None, shape: tuple[int, ...], workers: int
) -> NDArray[np.uint8]:
    images = np.empty((len(files), *shape), np.uint8)
    numbers, failures = itertools.count(), dict[int, Exception | None]()
    threads = min(workers, -(-len(files) // CHUNK))

    def work() -> None:
        try:
            for number in numbers:
                start = number * CHUNK
                # what comes before a failure has begun, and goes on to its end: it may be the first one to fail
                if start >= len(files) or failures:
                    return
                try:
                    for index in range(start, min(start + CHUNK, len(files))):
                        images[index] = _fitting(files[index], size, channels, files[0], shape)
                except Exception as error:
                    failures[number] = error
                bar.update(min(CHUNK, len(files) - start))
        except BaseException:
            # Ctrl-C
            failures[-1] = None
            raise

    bar = tqdm(total=len(files), desc="decoding", unit="image", leave=False, disable=loudness.hides_bars())
    with bar, ThreadPool(threads - 1, "ttfs-decoding") as pool:
        pool.run([work] * threads)
    first = failures.get(min(failures, default=0))
    if first is not None:
        raise first
    return images


def _fitting(
    file: str, size: tuple[int, int] | None, channels: int | None, first: str, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    pixels = decode(file, size, channels)
    if pixels.shape[:2] != shape[:2]:
        (height, width), others = pixels.shape[:2], f"{shape[0]} x {shape[1]}"
        raise UserError(
            f"{shown_path(file)} is {height} x {width} pixels, but {shown_path(first)} is {others}: set data.size to "
            f"[height, width] for all"
        )
    if pixels.shape[2] != shape[2]:
        raise _ColourError
    return pixels
