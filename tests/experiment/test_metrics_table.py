"""metrics.csv: the lines of metrics.jsonl as a table."""

import csv
import errno
import json
import os
from pathlib import Path

import pytest
from helpers.commands import TIMES, cut_short, run_small, small, train
from helpers.refusals import tree

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.metrics_table import as_csv

LINES = [
    {"epoch": 1, "loss": 0.1, "rates": {"conv1": 0.25, "conv2": 0.0}, "averaged": True, "current": None},
    {"epoch": 2, "loss": 1e-8, "rates": {"conv1": 0.5, "conv2": 1.0}, "averaged": False, "current": 0.5},
    {"test_accuracy": 0.3, "rates": {"conv1": 0.5}, "by_class": [0.5, None], "device": 'CPU "x", 2 threads'},
]
TABLE = """\
epoch,loss,rates.conv1,rates.conv2,averaged,current,test_accuracy,test_rates.conv1,test_by_class.0,test_by_class.1,test_device
1,0.1,0.25,0.0,true,,,,,,
2,1e-08,0.5,1.0,false,0.5,,,,,
,,,,,,0.3,0.5,0.5,,"CPU ""x"", 2 threads"
"""


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_table() -> None:
    assert as_csv(LINES) == TABLE


def test_a_line_of_another_kind_has_no_row() -> None:
    assert as_csv([LINES[0], {"changed_after_epoch": 1, "optimizer.lr": [0.1, 0.2]}, *LINES[1:]]) == TABLE


def test_columns_keep_their_places_while_rows_come() -> None:
    whole = as_csv(LINES).splitlines()[0].split(",")
    for count in (1, 2):
        columns = as_csv(LINES[:count]).splitlines()[0].split(",")
        assert columns == whole[: len(columns)] == whole[:6]


def test_it_is_written_with_every_line(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    for count, line in enumerate(LINES, 1):
        file.add(**line)
        assert (tmp_path / "metrics.csv").read_text() == as_csv(LINES[:count])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run")


def test_a_runs_table_has_all_its_numbers(whole: Path) -> None:
    table, lines = rows(whole / "metrics.csv"), (whole / "metrics.jsonl").read_text().splitlines()
    assert len(table) == len(lines) == 3
    for row, text in zip(table, lines, strict=True):
        line = json.loads(text)
        for key, value in line.items():
            column = key if "epoch" in line or key.startswith("test_") else f"test_{key}"
            parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for part, one in parts:
                told = row[f"{column}.{part}"]
                assert told == one if isinstance(one, str) else float(told) == one
            if not parts:
                assert row[column] == value if isinstance(value, str) else float(row[column]) == value
    assert [row["epoch"] for row in table] == ["1", "2", ""]


def test_a_resumed_runs_table_is_the_same(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cut_short(monkeypatch, 15, *small(run))
    assert len(rows(run / "metrics.csv")) == 1
    assert train("--resume", run).code == 0
    found, wanted = rows(run / "metrics.csv"), rows(whole / "metrics.csv")
    for row in (*found, *wanted):
        for column in TIMES:
            del row[column]
    assert found == wanted


def test_pandas_reads_it(whole: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(whole / "metrics.csv")
    epochs = frame[frame.epoch.notna()]
    assert list(epochs.epoch) == [1, 2] and epochs["firing_rates.conv1"].between(0, 1).all()
    assert epochs.select_dtypes("number").shape[1] > 8
    assert frame.test_accuracy.notna().sum() == 1


@pytest.mark.parametrize("last", [0, 1])
def test_without_room_for_both_files_neither_is_written(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, left = MetricsFile(tmp_path / "metrics.jsonl"), iter(range(last))
    file.add(epoch=1)
    before = tree(tmp_path)

    def fsync(_: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        file.add(epoch=2)
    assert tree(tmp_path) == before and len(before) == 2
