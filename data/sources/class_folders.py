"""Files that lie in a folder for each class: which there are, in what order, and what is refused."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import reason
from ttfs_cupy.common.shown import listed, shown, shown_path

# links can make of a few folders more than can ever be visited
MOST_FOLDERS = 100_000


class Kind(NamedTuple):
    """What files are looked for. name: of one of them, in sentences; endings: of their names, in small letters."""

    name: str
    endings: tuple[str, ...]


class ClassFiles(NamedTuple):
    """Files in their order: by their paths below the class folders, then by class. labels: int64 (N,)."""

    folder: Path
    files: list[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    def take(self, chosen: NDArray[np.int64]) -> ClassFiles:
        return self._replace(files=[self.files[index] for index in chosen], labels=self.labels[chosen])


def find_class_files(kind: Kind, folder: Path, classes: tuple[str, ...] | None = None) -> ClassFiles:
    """The files of that kind in the class folders of a folder, at any depth. Classes are numbered by their sorted
    names. classes: those of the training half, of which some may lack here.

    Raises UserError, which names the folder or link: for fewer than two classes, or none where `classes` says which;
    one that `classes` lacks; one without files; links that lead nowhere or back; what cannot be read.
    """
    names = sorted(subfolders(folder))
    if classes is None and len(names) < 2:
        few = f"the class folder {shown(names[0])} alone" if names else "no class folder"
        raise UserError(
            f"{shown_path(folder)} holds {few}, where {kind.name}s are to lie in one folder a class, two at least"
        )
    unknown = [] if classes is None else sorted(set(names) - set(classes))
    if unknown:
        raise UserError(f"{shown_path(folder)} holds {listed(map(shown, unknown))}, no class of the training half")
    known = classes or tuple(names)
    label_of = {name: label for label, name in enumerate(known)}
    found: list[tuple[tuple[str, ...], int, str]] = []
    for name in names:
        label, before = label_of[name], len(found)
        found += [(parts, label, path) for parts, path in _files_below(folder / name, kind.endings)]
        if len(found) == before:
            raise UserError(
                f"the class folder {shown_path(folder / name)} holds no {kind.name}, no file that ends in "
                f"{', '.join(kind.endings)}"
            )
    if not found:
        raise UserError(f"{shown_path(folder)} holds no class folder")
    found.sort()
    labels = np.array([label for _, label, _ in found], np.int64)
    return ClassFiles(folder, [path for _, _, path in found], labels, known)


def subfolders(folder: Path) -> list[str]:
    """The names of the folders in it, and of links to such; not of hidden ones. Raises UserError."""
    return [entry.name for entry in _entries(folder) if _is_folder(entry)]


def _files_below(folder: Path, endings: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each file below a folder whose name ends so: the parts of its path there, and its whole path."""
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
            # the folder itself may be one of the real ones, seen again by way of a link above it
            link = next((place for place in (here, *here.parents) if place.is_symlink()), here)
            raise UserError(f"{shown_path(link)} is a link that leads back to a folder above it: remove it")
        for entry in _entries(here):
            if _is_folder(entry):
                waiting.append((Path(entry.path), (*parts, entry.name), above | {identity}))
            elif entry.name.lower().endswith(endings):
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
