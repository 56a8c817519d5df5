"""What a sweep says at its end, and what it writes for other programs."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.sweep import table
from ttfs_cupy.sweep.plan import planned
from ttfs_cupy.sweep.results import Result, read_result, write_csv

RUNS = planned({"lr": ["1", "2"], "model": ["[8, P]"]}, [0, 1, 2])
TESTS = {"lr=1": (0.5, 0.75, 0.625), "lr=2": (0.9, 0.4)}


def result(test: float, validation: float = 0.5) -> Result:
    return Result(test, validation, best_epoch=3, epochs=4, seconds=1.5)


def results(validation: tuple[float, float] = (0.5, 0.25)) -> dict[str, Result]:
    found = {}
    for setting, best in zip(TESTS, validation, strict=True):
        for seed, test in enumerate(TESTS[setting]):
            found[f"{setting},seed={seed}"] = result(test, best)
    return found


def row(lines: list[str], label: str) -> list[str]:
    (found,) = (line for line in lines if line.startswith(label))
    return found.replace(label, "").split()


def test_means_and_sample_deviations_over_seeds() -> None:
    lines = table.lines(RUNS, results(), {"lr=2,seed=2": "the loss is no longer finite"})
    assert "sample standard deviation (n - 1)" in lines[0]
    for label, more in (("lr=1", []), ("lr=2", ["failed"])):
        tests = np.array(TESTS[label])
        mean, deviation = 100 * tests.mean(), 100 * tests.std(ddof=1)
        numbers = row(lines, label)
        starred = numbers[:1] == ["*"]
        assert starred == (label == "lr=1")
        validation = "50.00" if label == "lr=1" else "25.00"
        assert numbers[starred:] == [
            validation,
            f"{mean:.2f}",
            f"{deviation:.2f}",
            *(f"{100 * t:.2f}" for t in tests),
            *more,
        ]
    assert lines[-1] == "failed: lr=2,seed=2: the loss is no longer finite"
    assert "so that the test set has chosen nothing" in lines[-2]


def test_the_best_is_by_validation_and_among_those_that_are_whole() -> None:
    found = results((0.5, 0.75))
    assert row(table.lines(RUNS, found, {}), "lr=1")[0] == "*"
    found["lr=2,seed=2"] = result(0.1, 0.75)
    lines = table.lines(RUNS, found, {})
    assert row(lines, "lr=2")[0] == "*" and row(lines, "lr=1")[0] != "*"


@pytest.mark.parametrize("seeds", [[0], [0, 1]])
def test_one_setting_is_not_the_best_of_anything(seeds: list[int]) -> None:
    runs = planned({}, seeds)
    lines = table.lines(runs, {run.name: result(0.25) for run in runs}, {})
    assert not [line for line in lines if "*" in line]
    # of one value there is no deviation
    deviation = "-" if len(seeds) == 1 else "0.00"
    assert row(lines, "as given") == ["50.00", "25.00", deviation, *["25.00"] * len(seeds)]


def test_nothing_but_failures() -> None:
    runs = planned({}, [0])
    lines = table.lines(runs, {}, {"seed=0": "x" * 5000 + "\n"})
    assert row(lines, "as given") == ["-", "-", "-", "failed"]
    assert max(map(len, lines)) < 300 and "\n" not in "".join(lines)


def test_a_line_a_run(tmp_path: Path) -> None:
    file = tmp_path / "sweep.csv"
    write_csv(file, RUNS, results(), {"lr=2,seed=2": 'it said "no", twice'})
    with file.open(newline="") as text:
        lines = list(csv.DictReader(text))
    assert [(line["lr"], line["model"], line["seed"]) for line in lines] == [
        (lr, "[8, P]", seed) for lr in "12" for seed in "012"
    ]
    first, last = lines[0], lines[-1]
    assert {key: first[key] for key in list(first)[3:]} == {
        "test_accuracy": "0.5",
        "best_validation_accuracy": "0.5",
        "best_epoch": "3",
        "epochs": "4",
        "seconds": "1.5",
        "directory": "lr=1,seed=0",
        "status": "finished",
        "error": "",
    }
    assert (last["test_accuracy"], last["status"], last["error"]) == ("", "failed", 'it said "no", twice')
    write_csv(file, RUNS, {}, {})
    assert file.read_text().count(",not finished,") == len(RUNS)


def test_pandas_reads_it(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    file = tmp_path / "sweep.csv"
    write_csv(file, RUNS, results(), {})
    frame = pandas.read_csv(file)
    means = frame.groupby("lr").test_accuracy.agg(["mean", "std"])
    np.testing.assert_allclose(means.loc[1], [np.mean(TESTS["lr=1"]), np.std(TESTS["lr=1"], ddof=1)])


EPOCHS = (
    '{"epoch": 1, "validation_accuracy": 0.5, "seconds": 2}\n{"epoch": 2, "validation_accuracy": 0.25, "seconds": 1}\n'
)
TEST = '{"test_accuracy": 0.75, "best_epoch": 1}\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (EPOCHS + TEST, Result(0.75, 0.5, 1, 2, 3.0)),
        # what else a line may say
        ('{"changed_after_epoch": 0}\n' + EPOCHS + TEST, Result(0.75, 0.5, 1, 2, 3.0)),
        (EPOCHS, None),
        (None, None),
        ("", None),
        # of something else, or damaged: the run is to say so
        (TEST, None),
        (EPOCHS + TEST.replace("0.75", '"high"'), None),
        (EPOCHS + "{", None),
        (TEST + EPOCHS, None),
    ],
)
def test_a_run_is_finished_once_its_metrics_end_with_the_test(
    text: str | None, found: Result | None, tmp_path: Path
) -> None:
    run = RunDirectory(tmp_path)
    if text is not None:
        run.metrics.write_text(text)
    assert read_result(run) == found
