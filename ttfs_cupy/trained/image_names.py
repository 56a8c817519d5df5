"""Which images a command line names: files, folders, standard input, lists of paths. They are found one by one, so that
there may be any number of them."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.data.decoding.photograph import ENDINGS, MOST_PIXELS
from ttfs_cupy.trained.image_stream import ImageSource

logger = logging.getLogger("ttfs_cupy")

STANDARD_INPUT = "-"
# of an image that comes by standard input: pixels of three colours in 16 bits, and a header
MOST_BYTES = 6 * MOST_PIXELS + (1 << 20)
# of a list: what is read at once, and what no path is longer than
PIECE, LONGEST_PATH = 1 << 16, 1 << 16

Named = ImageSource | UserError


def named_images(names: Sequence[str], path_list: str | None) -> Iterator[Named]:
    """The images that the arguments name, in their order, then those of the list. In place of what cannot be found, an
    error. Raises UserError where standard input, or the list, cannot be read."""
    for name in names:
        if name == STANDARD_INPUT:
            yield ImageSource(name, _whole_input())
        else:
            yield from _found(name)
    if path_list is not None:
        for path in _listed(path_list):
            yield from _found(path)


def _found(path: str) -> Iterator[Named]:
    """The file itself, whatever it is; of a folder, all images in it."""
    if not _is_folder(path):
        yield ImageSource(path)
        return
    count = 0
    for named in _below(path):
        count += 1
        yield named
    if not count:
        yield UserError(f"{shown_path(path)} holds no image: no file in it ends in {', '.join(ENDINGS)}")


def _below(folder: str) -> Iterator[Named]:
    """All images in a folder and those in it, in the order of their names; nothing that is hidden, and no folder twice,
    by whatever links."""
    # what is still to be looked at, the next one last; and by what path each folder was, as links may lead there again
    waiting, known = [(folder, True)], dict[tuple[int, int], str]()
    while waiting:
        path, is_folder = waiting.pop()
        if not is_folder:
            yield ImageSource(path)
            continue
        try:
            status = os.stat(path)  # noqa: PTH116 (of ten thousands of them)
            first = known.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                logger.debug("%s is the folder %s, which is read once", shown_path(path), shown_path(first))
                continue
            with os.scandir(path) as entries:
                inside = sorted(((entry.name, entry.path, _leads_on(entry)) for entry in entries), reverse=True)
        except OSError as error:
            yield UserError(f"the folder {shown_path(path)} cannot be read: {reason(error)}")
            continue
        waiting += [
            (below, leads_on)
            for name, below, leads_on in inside
            if not name.startswith(".") and (leads_on or name.lower().endswith(ENDINGS))
        ]


def _is_folder(path: str) -> bool:
    try:
        return os.path.isdir(path)  # noqa: PTH112 (of ten thousands of them)
    except ValueError:
        # no path at all, as whoever opens it says
        return False


def _leads_on(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # a link in a circle
        return False


def _whole_input() -> bytes:
    content = _standard_input().read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise UserError(f"standard input has more than {MOST_BYTES:,} bytes, which no image needs")
    return content


def _listed(path_list: str) -> Iterator[str]:
    """The paths in a file, or in standard input: a NUL character ends each, or the end of its line."""
    if path_list == STANDARD_INPUT:
        yield from _split(_standard_input(), "standard input")
        return
    try:
        file = open_file(Path(path_list), pipe_too=True)
    except OSError as error:
        raise UserError(f"the list {shown_path(path_list)} cannot be read: {reason(error)}") from None
    with file:
        yield from _split(cast(BufferedIOBase, file), shown_path(path_list))


def _split(file: BufferedIOBase, name: str) -> Iterator[str]:
    rest, end = b"", b""
    # what is there, without waiting for more
    while piece := file.read1(PIECE):
        if not end:
            # a path of a list that NUL characters divide may hold the end of a line
            end = b"\0" if b"\0" in piece else b"\n"
        *whole, rest = (rest + piece).split(end)
        yield from (os.fsdecode(path) for path in whole if path)
        if len(rest) > LONGEST_PATH:
            raise UserError(f"{name} is no list of paths: it holds more than {LONGEST_PATH} bytes without an end")
    if rest:
        yield os.fsdecode(rest)


def _standard_input() -> BufferedIOBase:
    if sys.stdin is None:
        raise UserError("standard input is closed")
    return cast(BufferedIOBase, sys.stdin.buffer)
