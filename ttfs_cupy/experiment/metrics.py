"""What a run says about itself: the lines of metrics.jsonl."""

import json
from pathlib import Path
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import write_atomically


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
        """The file as it was after so many epochs, for a run that goes on from there."""
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        except FileNotFoundError:
            lines = []
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from None
        return cls(path, [line for line in lines if line.get("epoch", epochs + 1) <= epochs])
