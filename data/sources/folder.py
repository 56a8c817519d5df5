"""Folders of photographs, one for each class, as torchvision's ImageFolder has them."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import reason
from ttfs_cupy.common.machine.cores import chosen_threads
from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.common.shown import listed, shown, shown_path
from ttfs_cupy.data.decoding.photograph import ENDINGS, decode, load_pillow, quiet
from ttfs_cupy.data.sources.halves import divided
from ttfs_cupy.data.sources.raw import TEST_SHARE, Options, Raw

logger = logging.getLogger("ttfs_cupy")

HALVES = ("train", "test")

# links can make of a few folders more than can ever be visited
MOST_FOLDERS = 100_000
# images that take long enough to say so
MANY = 5000
# images that a thread decodes before it looks whether it is still wanted
CHUNK = 32


class Images(NamedTuple):
    """Image files in their order: by their paths below the class folders, then by class. labels: int64 (N,)."""

    folder: Path
    files: list[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def take(self, chosen: NDArray[np.int64]) -> Images:
        return self._replace(files=[self.files[index] for index in chosen], labels=self.labels[chosen])


def find_folder(root: Path, options: Options) -> tuple[Images, Images]:
    """The files of the training and the test half: those below root/train and root/test, or of all below `root` a
    fixed share of each class for the test. Raises UserError, which names the folder."""
    there = [half for half in HALVES if os.path.isdir(root / half)]  # noqa: PTH112 (which never raises)
    if len(there) == 1 and _subfolders(root / there[0]):
        (lacking,) = set(HALVES) - set(there)
        raise UserError(
            f"{shown_path(root)} has {there[0]} but no {lacking}: add it, or let data.root be "
            f"{shown_path(root / there[0])}, of which data.test is the share of a test half"
        )
    if len(there) < 2:
        every = find_images(root)
        share = TEST_SHARE if options.test is None else options.test
        halves = divided(every.labels, share, lambda label: shown_path(root / every.class_names[label]))
        train, test = (every.take(half) for half in halves)
        return train, test
    if options.test is not None:
        raise UserError(f"data.test has no effect, as {shown_path(root)} has train and test: leave it out")
    train = find_images(root / "train")
    return train, find_images(root / "test", train.class_names)


def read_folder(root: Path, options: Options) -> tuple[Raw, Raw]:
    """The training and the test half, uint8 (N, H, W, C) each. Raises UserError, which names the file or folder."""
    train, test = find_folder(root, options)
    images = decoded([*train.files, *test.files], options)
    count = len(train.files)
    parts = ((train, images[:count]), (test, images[count:]))
    raws = (Raw(part, half.labels, shown_path(half.folder), half.class_names) for half, part in parts)
    return next(raws), next(raws)


def read_class_folders(folder: Path, options: Options) -> Raw:
    """The images of one folder of class folders. Raises UserError, which names the file or folder."""
    found = find_images(folder)
    return Raw(decoded(found.files, options), found.labels, shown_path(folder), found.class_names)


def find_images(folder: Path, classes: tuple[str, ...] | None = None) -> Images:
    """The images in the class folders of a folder. classes: those of another half, of which some may lack here.

    Raises UserError for fewer than two classes, one that `classes` lacks, one without images, and what cannot be read.
    """
    names = sorted(_subfolders(folder))
    if classes is None and len(names) < 2:
        few = f"the class folder {shown(names[0])} alone" if names else "no class folder"
        raise UserError(
            f"{shown_path(folder)} holds {few}, where images are to lie in one folder a class, two at least"
        )
    unknown = [] if classes is None else sorted(set(names) - set(classes))
    if unknown:
        raise UserError(f"{shown_path(folder)} holds {listed(map(shown, unknown))}, no class of the training half")
    known = classes or tuple(names)
    label_of = {name: label for label, name in enumerate(known)}
    found: list[tuple[tuple[str, ...], int, str]] = []
    for name in names:
        label, before = label_of[name], len(found)
        found += [(parts, label, path) for parts, path in _images_below(folder / name)]
        if len(found) == before:
            kinds = ", ".join(ENDINGS)
            raise UserError(
                f"the class folder {shown_path(folder / name)} holds no image, no file that ends in {kinds}"
            )
    if not found:
        raise UserError(f"{shown_path(folder)} holds no class folder")
    found.sort()
    labels = np.array([label for _, label, _ in found], np.int64)
    return Images(folder, [path for _, _, path in found], labels, known)


def decoded(files: Sequence[str], options: Options) -> NDArray[np.uint8]:
    """The images in these files, uint8 (N, H, W, C), decoded on all cores.

    Without options.channels they are grey if all files are. Raises UserError for the first file that is no image, or,
    without options.size, of another size than the first one.
    """
    load_pillow()
    if len(files) >= MANY:
        logger.info("decoding %d images", len(files))
    with quiet():
        shape = decode(files[0], options.size, options.channels).shape
        if options.channels is None and shape[2] == 1:
            try:
                return _all_of(files, options.size, None, shape)
            except _ColourError:
                shape = (*shape[:2], 3)
        return _all_of(files, options.size, shape[2], shape)


class _ColourError(Exception):
    """A file has colours, where all before it were grey."""


def _all_of(
    files: Sequence[str], size: tuple[int, int] | None, channels: int | None, shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    images = np.empty((len(files), *shape), np.uint8)
    numbers, failures = itertools.count(), dict[int, Exception | None]()
    threads = min(chosen_threads()[0], -(-len(files) // CHUNK))

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

    bar = tqdm(total=len(files), desc="decoding", unit="image", leave=False, disable=None)
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


def _subfolders(folder: Path) -> list[str]:
    """The names of the folders in it, and of links to such."""
    return [entry.name for entry in _entries(folder) if _is_folder(entry)]


def _images_below(folder: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each image file below a folder: the parts of its path there, and its whole path."""
    # with the folders above each, by which a link that leads back is known
    waiting: list[tuple[Path, tuple[str, ...], frozenset[tuple[int, int]]]] = [(folder, (), frozenset())]
    for visited in itertools.count(1):
        if not waiting:
            return
        if visited > MOST_FOLDERS:
            raise UserError(f"{shown_path(folder)} holds more than {MOST_FOLDERS} folders, some by way of links")
        here, parts, above = waiting.pop()
        identity = _identity(here)
        if identity in above:
            raise UserError(f"{shown_path(here)} is a link that leads back to a folder above it: remove it")
        for entry in _entries(here):
            if _is_folder(entry):
                waiting.append((Path(entry.path), (*parts, entry.name), above | {identity}))
            elif entry.name.lower().endswith(ENDINGS):
                yield (*parts, entry.name), entry.path


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        raise UserError(f"the folder {shown_path(folder)} cannot be read: {reason(error)}") from None
    return status.st_dev, status.st_ino


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """All that is in a folder but for what is hidden."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (OSError, ValueError) as error:
        kind = "it is a file, not a folder" if isinstance(error, NotADirectoryError) else reason(error)
        raise UserError(f"the folder {shown_path(folder)} cannot be read: {kind}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Also of a link to one. Raises UserError for a link that leads nowhere."""
    try:
        if entry.is_dir():
            return True
        if entry.is_symlink():
            # what it leads to must be there
            entry.stat()
    except OSError as error:
        kind = "is a link that leads nowhere" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"{shown_path(entry.path)} {kind}: {reason(error)}") from None
    return False
