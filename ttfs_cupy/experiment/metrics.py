"""What a run says about itself: the lines of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import open_file, reason
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.common.shown import message_of, shown

# bytes; an epoch's line has some hundreds
LARGEST = 1 << 28


class MetricsFile:
    """metrics.jsonl: a line an epoch, then one with the test set's; the file is whole at any time."""

    def __init__(self, path: Path, lines: list[dict[str, Any]] | None = None):
        self.path = path
        self.lines = list(lines or [])

    def add(self, **values: Any) -> None:
        self.lines.append(values)
        write_atomically(self.path, "".join(json.dumps(line) + "\n" for line in self.lines).encode())

    @classmethod
    def of_epochs(cls, path: Path, epochs: int) -> "MetricsFile":
        """The file as it was after so many epochs, for a run that goes on from there. Raises UserError."""
        lines = [_line(path, number, text) for number, text in enumerate(_texts(path), 1) if text.strip()]
        return cls(path, [line for line in lines if line.get("epoch", epochs + 1) <= epochs])


def _texts(path: Path) -> list[str]:
    """The file's lines; none if there is no file yet."""
    try:
        with open_file(path) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{path} cannot be read: it has more than {LARGEST} bytes, which no run writes")
        return content.decode().split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} cannot be read: it is not UTF-8 text") from None


def _line(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}, line {number}, cannot be read: it is not JSON ({message_of(error)})") from None
    except RecursionError:
        raise UserError(f"{path}, line {number}, cannot be read: it is nested too deeply") from None
    if not isinstance(line, dict):
        raise UserError(f"{path}, line {number}, cannot be read: it is {shown(line)}, not keys and values")
    epoch = line.get("epoch", 1)
    if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
        raise UserError(f"{path}, line {number}, cannot be read: its epoch is {shown(epoch)}, not a number from 1")
    return line
