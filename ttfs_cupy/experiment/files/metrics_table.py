"""metrics.jsonl as a table: what metrics.csv holds."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_OF_TEST = "test_"


def as_csv(lines: Iterable[Mapping[str, Any]]) -> str:
    """A row for each line, below the names of the columns; what a line does not have is empty.

    Of a value with parts, each part is a column: firing_rates.conv1, class_accuracies.0. The line of the test set is
    the last row, has no epoch, and columns of its own behind the epochs', whose names all begin with test_. So a
    column's place and meaning are the same from the first epoch on.
    """
    rows = [dict(_flat(line)) for line in map(_columns, lines) if line]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _columns(line: Mapping[str, Any]) -> Mapping[str, Any]:
    """A line's values by column; none of one that tells neither of an epoch nor of the test set."""
    if "epoch" in line:
        return line
    if "test_accuracy" not in line:
        return {}
    return {key if key.startswith(_OF_TEST) else _OF_TEST + key: value for key, value in line.items()}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each column's name, and its text: numbers and truth as JSON has them, null as nothing."""
    if isinstance(value, (Mapping, list, tuple)):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, part in parts:
            yield from _flat(part, f"{name}.{key}" if name else str(key))
    elif value is None:
        yield name, ""
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)
