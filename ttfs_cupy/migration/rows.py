"""What became of a key of another framework, and a table of such rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.common.shown import one_line, shown

# Where a row comes from: a key of the file, one that the file lacks, an option of the command, or what is so always.
FILE, DEFAULT, OPTION, ALWAYS = "file", "default", "option", "always"

_MOST = 44
_UNREAD = "* T2FSNN's run.py does not read this key, so its own run went without; here it counts."


@dataclass(frozen=True)
class Row:
    """old, value: the other framework's key. new, here: the dotted key that it has become, and its value; no key where
    it is left out. why: what the renaming does not say. is_unread: whether the other framework ignores it in a file."""

    old: str
    value: Any
    new: str
    here: Any
    why: str
    origin: str
    is_unread: bool = False


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each row, below a heading."""
    head = ("T2FSNN", "its value", "here", "value", "")
    lines = aligned([head, *map(_cells, rows)], left=5)
    return [*lines, *([_UNREAD] if any(row.is_unread for row in rows) else [])]


def _cells(row: Row) -> tuple[str, ...]:
    old = "(always)" if row.origin == ALWAYS else f"{row.old}{'*' * row.is_unread}"
    value = "" if row.origin == ALWAYS else _cell(row.value) + " (default)" * (row.origin == DEFAULT)
    return old, value, row.new or "-", _cell(row.here) if row.new else "-", row.why


def _cell(value: Any) -> str:
    return one_line(value, _MOST) if isinstance(value, str) else shown(value, _MOST)
