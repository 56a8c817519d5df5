"""What a stage leaves on disk as it goes: figures, which are typed records, and findings for the summary."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of one stage's records. A report, whose stages' records share a larger room, has a megabyte in all.
MOST_BYTES = 160 << 10

Record = dict[str, Any]
KIND = "record"


@dataclass(frozen=True)
class Finding:
    """A line for the summary. attention: something is wrong, or lost, or slower than it should be."""

    text: str
    attention: bool = False


class Notes:
    """A stage's records, a line of JSON each, written when they are known: they outlive a stage that is killed.

    folder: the report's. end: when the stage has to have ended, by time.monotonic(), which all processes share.
    """

    def __init__(self, folder: Path, stage: str, end: float):
        self.folder = folder
        self._file = file_of(folder, stage)
        self._end = end
        self._bytes = 0

    @property
    def left(self) -> float:
        """Seconds that the stage has."""
        return self._end - time.monotonic()

    def say(self, text: str) -> None:
        """For the report's text alone."""
        print(text, flush=True)

    def record(self, figure: Any) -> None:
        """An instance of a dataclass, among the figures; beyond a limit they are left out."""
        line = json.dumps({KIND: type(figure).__name__, **_plain(dataclasses.asdict(figure))}, allow_nan=False) + "\n"
        # findings are few, and tell what the others show
        if self._bytes > MOST_BYTES and not isinstance(figure, Finding):
            return
        self._bytes += len(line)
        with self._file.open("a") as file:
            file.write(line)

    def found(self, text: str) -> None:
        """For the summary."""
        self._find(Finding(text))

    def attention(self, text: str) -> None:
        """For the summary, marked."""
        self._find(Finding(text, attention=True))

    def _find(self, finding: Finding) -> None:
        self.say(f"{'!!' if finding.attention else '=='} {finding.text}")
        self.record(finding)


def file_of(folder: Path, stage: str) -> Path:
    """Where a stage's records are, until it has ended and they are among all figures."""
    return folder / f"{stage}.jsonl"


def take(folder: Path, stage: str, room: int) -> tuple[list[Record], list[Finding], int]:
    """A stage's figures, its findings, and how many bytes they are, when it has ended.

    room: bytes; figures beyond it are left out, and counted among the findings.
    """
    file = file_of(folder, stage)
    figures: list[Record] = []
    findings: list[Finding] = []
    size = left_out = 0
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            # the line over which it was killed
            continue
        if record[KIND] == Finding.__name__:
            findings.append(Finding(record["text"], record["attention"]))
        elif size + len(line) > room:
            left_out += 1
            continue
        else:
            figures.append(record)
        size += len(line)
    file.unlink(missing_ok=True)
    return figures, findings + [Finding(f"{left_out} figures are left out")] * bool(left_out), size


def _plain(value: Any) -> Any:
    """As JSON has it, which has no NaN and no infinity."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        # five digits are more than any measurement has
        return float(f"{value:.5g}") if math.isfinite(value) else None
    return value
