"""What a stage leaves on disk as it goes: figures, which are typed records, and findings for the summary."""

import dataclasses
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Of a stage's records: those of all stages go into one report of a megabyte.
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

    folder: the report's. seconds: how long the stage may take from now on.
    """

    def __init__(self, folder: Path, stage: str, seconds: float):
        self.folder = folder
        self._file = file_of(folder, stage)
        self._end = time.monotonic() + seconds
        self._bytes = 0

    @property
    def left(self) -> float:
        """Seconds until the stage is killed."""
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


def take(folder: Path, stage: str) -> tuple[list[Record], list[Finding]]:
    """A stage's figures and findings, when it has ended. A line that it was killed over does not count."""
    file = file_of(folder, stage)
    records: list[Record] = []
    for line in file.read_text().splitlines() if file.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    file.unlink(missing_ok=True)
    findings = [Finding(one["text"], one["attention"]) for one in records if one[KIND] == Finding.__name__]
    return [one for one in records if one[KIND] != Finding.__name__], findings


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
