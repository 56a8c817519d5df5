"""What came of runs: read from their metrics, and written as a table for other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs_cupy.common.checks import is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import read_own
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.experiment.files.metrics import LARGEST
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.sweep.plan import PlannedRun

COLUMNS = ("test_accuracy", "best_validation_accuracy", "best_epoch", "epochs", "seconds")


@dataclass(frozen=True)
class Result:
    """Of a run that is finished. Accuracies are shares in [0, 1]; seconds are those of training, in all epochs."""

    test_accuracy: float
    best_validation_accuracy: float
    best_epoch: int
    epochs: int
    seconds: float


# By the names of runs: what came of those that are finished, and what is said of those that failed.
Results = Mapping[str, Result]
Failures = Mapping[str, str]


def read_result(run: RunDirectory) -> Result | None:
    """None unless the run is finished: the last line of its metrics is the test set's."""
    lines = _lines(run.metrics)
    if not lines or not is_number(lines[-1].get("test_accuracy")):
        return None
    last, epochs = lines[-1], [line for line in lines if "epoch" in line]
    best = [line for line in epochs if line["epoch"] == last.get("best_epoch")]
    try:
        return Result(
            float(last["test_accuracy"]),
            float(best[-1]["validation_accuracy"]),
            int(last["best_epoch"]),
            len(epochs),
            sum(float(line["seconds"]) for line in epochs),
        )
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):
        # not what ttfs-train wrote: the run is made to go on, and says what is wrong
        return None


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        texts = read_own(path, str(path), LARGEST).decode().split("\n")
        return [keys_and_values(text, str(path)) for text in texts if text.strip()]
    except (OSError, UnicodeDecodeError, UserError):
        return []


def write_csv(path: Path, runs: Sequence[PlannedRun], results: Results, failures: Failures) -> None:
    """A line a run: its settings, seed, results, folder within the sweep's, and how it stands. Raises UserError."""
    keys = list(runs[0].setting.values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*keys, "seed", *COLUMNS, "directory", "status", "error"])
    for run in runs:
        result, error = results.get(run.name), failures.get(run.name, "")
        status = "finished" if result else "failed" if error else "not finished"
        found = [getattr(result, column) if result else "" for column in COLUMNS]
        writer.writerow([*run.setting.values.values(), run.seed, *found, run.name, status, error])
    write_atomically(path, text.getvalue().encode("utf-8", "backslashreplace"))
