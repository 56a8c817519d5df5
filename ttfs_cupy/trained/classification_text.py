"""Classified images as text: a table for people, lines of JSON, and CSV."""

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.shown import one_line, shown_path

# characters of a class' name in the table
WIDEST = 30
DIGITS = 4


@dataclass(frozen=True)
class ClassifiedImage:
    """best: (label, probability) of the best classes, the best one first: one, or as many as were asked for."""

    file: str
    best: Sequence[tuple[int, float]]
    margin: float
    decision_time: float


class Writer(ABC):
    """Makes text of images, some at a time: lines without the last one's end."""

    def __init__(self, class_names: Sequence[str], top: int):
        self.class_names = class_names
        self.top = top

    @abstractmethod
    def head(self) -> str | None:
        """What comes before the first image; None for nothing."""

    @abstractmethod
    def text(self, images: Sequence[ClassifiedImage]) -> str:
        """Of at least one image."""


class Table(Writer):
    """Columns of a fixed width, and the path, which may be long, behind them; of the other best classes a line each."""

    _HEAD = ("class", "probability", "margin", "decision", "file")

    def __init__(self, class_names: Sequence[str], top: int):
        super().__init__([one_line(name, WIDEST) for name in class_names], top)
        # numbers of more characters push the rest aside
        widest = max(len("class"), *map(len, self.class_names))
        self._columns = (widest, -len("probability"), -10, -len("decision"), 0)

    def head(self) -> str:
        return self._lines([self._HEAD])[0]

    def text(self, images: Sequence[ClassifiedImage]) -> str:
        return "\n".join(self._lines([row for image in images for row in self._rows(image)]))

    def _rows(self, image: ClassifiedImage) -> Iterator[tuple[str, ...]]:
        for place, (label, probability) in enumerate(image.best):
            known = (self.class_names[label], f"{probability:.{DIGITS}f}")
            rest = (f"{image.margin:.{DIGITS}g}", f"{image.decision_time:.{DIGITS - 1}f}", shown_path(image.file))
            yield known + (rest if place == 0 else ("", "", ""))

    def _lines(self, rows: Sequence[tuple[str, ...]]) -> list[str]:
        # each line by itself, as no line waits for the widest one
        return [
            "  ".join(
                cell.ljust(width) if width >= 0 else cell.rjust(-width)
                for cell, width in zip(row, self._columns, strict=True)
            ).rstrip()
            for row in rows
        ]


class JsonLines(Writer):
    """A line of JSON for each image, in ASCII. A byte of a path that is no text is \\udc80 to \\udcff, as in Python."""

    def head(self) -> None:
        return None

    def text(self, images: Sequence[ClassifiedImage]) -> str:
        return "\n".join(json.dumps(self._line(image)) for image in images)

    def _line(self, image: ClassifiedImage) -> dict[str, Any]:
        best = [
            {"class": self.class_names[label], "label": label, "probability": probability}
            for label, probability in image.best
        ]
        line = {
            "file": image.file,
            **best[0],
            "margin": image.margin,
            "decision_time": image.decision_time,
        }
        return line if self.top == 1 else {**line, "top": best}


class Csv(Writer):
    """Rows of CSV under a head; of the other best classes two columns each."""

    def head(self) -> str:
        others = [f"{name}_{place}" for place in range(2, self.top + 1) for name in ("class", "probability")]
        return _rows_of_csv([["file", "class", "label", "probability", "margin", "decision_time", *others]])

    def text(self, images: Sequence[ClassifiedImage]) -> str:
        return _rows_of_csv([self._row(image) for image in images])

    def _row(self, image: ClassifiedImage) -> list[Any]:
        (label, probability), *others = image.best
        rest = [part for other, share in others for part in (self.class_names[other], share)]
        return [
            image.file,
            self.class_names[label],
            label,
            probability,
            image.margin,
            image.decision_time,
            *rest,
        ]


def _rows_of_csv(rows: Sequence[Sequence[Any]]) -> str:
    # what a row's end holds is quoted in a name: \r, too, which some readers take for an end
    lines: list[str] = []
    csv.writer(_Appending(lines), lineterminator="\r\n").writerows(rows)
    return "\n".join(line.removesuffix("\r\n") for line in lines)


class _Appending:
    """A file to which csv writes one row at a time."""

    def __init__(self, lines: list[str]):
        self._lines = lines

    def write(self, line: str) -> None:
        self._lines.append(line)
