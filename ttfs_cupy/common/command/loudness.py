"""How much a command says on the console: --quiet and --verbose. A log file gets everything."""

import argparse
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

logger = logging.getLogger("ttfs_cupy")

# logging's `extra` of a line that --quiet leaves: what the command was started for
RESULT = {"is_result": True}

_SILENT = logging.CRITICAL + 1


def add_options(parser: argparse.ArgumentParser, quiet: str) -> None:
    """--quiet and --verbose, which exclude each other; `level` of what is parsed is that of the console. quiet: what is
    left then."""
    level = parser.add_mutually_exclusive_group()
    add = level.add_argument
    add("--quiet", dest="level", action="store_const", const=logging.WARNING, help=f"say nothing but {quiet}")
    add("--verbose", dest="level", action="store_const", const=logging.DEBUG, help="say more: files, times, choices")
    parser.set_defaults(level=logging.INFO)


class Loudness(logging.Filter):
    """Of a console: lines from that level on, and results."""

    def __init__(self, level: int):
        super().__init__()
        self.level = level

    def filter(self, record: logging.LogRecord) -> bool:
        is_result = getattr(record, "is_result", False)
        return record.levelno >= self.level or (is_result and self.level < _SILENT)


@contextmanager
def silent() -> Iterator[None]:
    """In this block the console is told nothing, and nothing is printed: of several processes of a run, one speaks."""
    consoles = [one for handler in logger.handlers for one in handler.filters if isinstance(one, Loudness)]
    before = [one.level for one in consoles]
    for one in consoles:
        one.level = _SILENT
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        for one, level in zip(consoles, before, strict=True):
            one.level = level


def hides_bars() -> bool | None:
    """What tqdm takes as `disable`: True where the console is quiet, else None, which leaves it to whether there is a
    terminal."""
    filters = (one for handler in logger.handlers for one in handler.filters)
    return True if any(isinstance(one, Loudness) and one.level > logging.INFO for one in filters) else None
