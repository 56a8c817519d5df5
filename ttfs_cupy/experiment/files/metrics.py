"""What a run says about itself: the lines of metrics.jsonl, and the same as a table, metrics.csv."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ttfs_cupy.common.checks import check_count, is_whole
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import read_own
from ttfs_cupy.common.files.writing import write_atomically, written_aside
from ttfs_cupy.experiment.files.metrics_table import as_csv

# bytes; an epoch's line has some hundreds
LARGEST = 1 << 28

# In a line that says what of a run was changed as it went on: after how many whole epochs.
AFTER = "changed_after_epoch"


class MetricsFile:
    """metrics.jsonl: a line an epoch, one where the run's config was changed, then one with the test set's; and beside
    it the epochs' and the test set's as a table, metrics.csv. Either file is whole at any time."""

    def __init__(self, path: Path, lines: list[dict[str, Any]] | None = None):
        self.path = path
        self.lines = list(lines or [])

    def add(self, **values: Any) -> None:
        """A line that is on disk when this returns. Raises UserError."""
        self.append(**values)()

    def append(self, **values: Any) -> Callable[[], None]:
        """A line more; returns what writes the files as they are now, and raises UserError."""
        self.lines.append(values)
        # what comes later is none of it; each line stays as it is
        lines = list(self.lines)

        def write() -> None:
            content = "".join(json.dumps(line) + "\n" for line in lines).encode()
            table = as_csv(lines).encode()
            # where there is no room for both, there is neither
            with written_aside(self.path.with_suffix(".csv"), table):
                write_atomically(self.path, content)

        return write

    @classmethod
    def of_epochs(cls, path: Path, epochs: int, step: int | None = None) -> "MetricsFile":
        """The file as it was after so many epochs, and at that step, for a run that goes on from there.

        What was changed later is in force from there on. Raises UserError.
        """
        lines = [_line(path, number, text) for number, text in enumerate(_texts(path), 1) if text.strip()]
        kept = [line for line in lines if line.get("epoch", 0 if AFTER in line else epochs + 1) <= epochs]
        return cls(path, [_in_force(line, epochs, step) if AFTER in line else line for line in kept])


def _in_force(change: dict[str, Any], epochs: int, step: int | None) -> dict[str, Any]:
    """A line of a change, as it is for a run that has come so far, not further."""
    at = change.get("step")
    earlier = {"step": step} if step is not None and is_whole(at) and int(at) > step else {}
    return {**change, AFTER: min(change[AFTER], epochs), **earlier}


def _texts(path: Path) -> list[str]:
    """The file's lines; none if there is no file yet."""
    try:
        return read_own(path, str(path), LARGEST).decode().split("\n")
    except FileNotFoundError:
        return []
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read: it is not UTF-8 text") from None


def _line(path: Path, number: int, text: str) -> dict[str, Any]:
    about = f"{path}, line {number}, cannot be read:"
    line = keys_and_values(text, f"{about} it is")
    check_count(f"{about} its epoch", line.get("epoch", 1))
    check_count(f"{about} its {AFTER}", line.get(AFTER, 0), least=0)
    return line
