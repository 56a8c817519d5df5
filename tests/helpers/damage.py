"""Damages files at random, for fuzzers: bytes, and what stands where a file should be."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def nasty(random: random.Random) -> Any:
    """A value that JSON and YAML hold, and nobody expects."""
    deep: Any = []
    for _ in range(random.choice([5, 500])):
        deep = [deep]
    values = [
        *(None, True, False, "", "x", "é", "\0", "1", "nan", "a\nb", "x" * 5000),
        *(-1, 0, 1, 2, 3, 1.5, 1e308, 1e-320, float("nan"), float("inf"), 2**31, 2**63, 10**20, 10**400, -(10**400)),
        *([], {}, [1, 2], {"a": 1}, {"from": 0, "to": 1}, deep),
    ]
    return random.choice(values)


def damaged_bytes(content: bytes, random: random.Random) -> bytes:
    """With bytes flipped, cut out, put in or repeated."""
    array = bytearray(content)
    kind = random.choice(["flip", "flip", "flip at the start", "cut", "lengthen", "insert", "remove", "repeat", "zero"])
    place = random.randrange(len(array) + 1)
    if kind.startswith("flip") and array:
        for _ in range(random.choice([1, 1, 2, 8])):
            reach = len(array) if kind == "flip" else min(len(array), 200)
            array[random.randrange(reach)] ^= 1 << random.randrange(8)
    elif kind == "cut":
        del array[place:]
    elif kind == "lengthen":
        array += random.randbytes(random.choice([1, 10, 5000]))
    elif kind == "insert":
        array[place:place] = random.randbytes(random.choice([1, 4]))
    elif kind == "remove":
        del array[place : place + random.choice([1, 4, 50])]
    elif kind == "repeat":
        array[place:place] = array[place : place + 100]
    elif kind == "zero":
        array[place : place + 16] = bytes(len(array[place : place + 16]))
    return bytes(array)


def _link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def _link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing")


def _nothing(path: Path) -> None:
    """Leaves it away."""


def _closed(path: Path) -> None:
    """A file that may not be read; root may."""
    path.touch(0)


INSTEAD: tuple[Callable[[Path], None], ...] = (
    *(Path.mkdir, os.mkfifo, Path.touch, _link_to_itself, _link_to_zeros, _link_to_nothing, _nothing, _closed),
)


def put_instead(path: Path, random: random.Random) -> None:
    """Something else where the file was."""
    path.unlink()
    random.choice(INSTEAD)(path)


def remove(folder: Path) -> None:
    """A folder with all that was made of it."""
    shutil.rmtree(folder, ignore_errors=True)


def content_of(folder: Path) -> dict[str, bytes | str]:
    """By path: a file's content; of anything else what it is."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        else:
            found[name] = path.read_bytes() if path.is_file() else "no file"
    return found
