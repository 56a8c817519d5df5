"""Data sets where torchvision puts them, and what it fetches.

The one place that imports it, and only when asked: `import torch` takes seconds.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_file, is_there
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.data.decoding.archive import unpack


def torchvision(submodule: str) -> ModuleType:
    """torchvision's `submodule`, such as 'datasets'; UserError if torchvision cannot be imported."""
    return imported(f"torchvision.{submodule}", "torchvision", "pip install torchvision")


@contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Turns whatever a failing download of the data set `name` raises into one UserError."""
    try:
        yield
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the data set {name} could not be downloaded into {root} ({message_of(error)}): "
            "check the network, or put its files there yourself"
        ) from error


def fetch(name: str, root: Path, reader: str, **arguments: Any) -> None:
    """Has torchvision's class of that name download the data set `name`. Raises UserError if it fails."""
    with downloading(name, root):
        getattr(torchvision("datasets"), reader)(str(root), download=True, **arguments)


def find_archived(
    name: str, folder: Path, archive: str, files: Sequence[str], download: Callable[[], None] | None
) -> list[Path]:
    """The files of a data set that is published as an archive which holds `folder`.

    Looked for, in this order: the folder; the archive beside it, of which `files` are unpacked; what `download`
    fetches, None where that is not allowed. Raises UserError for missing files and a damaged archive.
    """
    packed = folder.parent / archive
    if not is_there(folder) and is_file(packed):
        try:
            unpack(packed, folder, files)
        except UserError:
            # an interrupted download leaves half an archive: torchvision sees that and fetches it anew
            if download is None:
                raise
    missing = [file for file in files if not is_file(folder / file)]
    if missing and download is not None:
        download()
    elif missing and is_there(folder):
        raise UserError(f"{folder} lacks {', '.join(missing)}: delete the folder and unpack {archive} anew")
    elif missing:
        raise UserError(
            f"the data set {name} is not in {folder}: set data.download: true, or put {archive} into {folder.parent}"
        )
    return [folder / file for file in files]
