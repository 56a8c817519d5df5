"""The command ttfs-robustness on digits: files, table, several runs, and how it ends."""

import csv
import importlib.util
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import commands
from helpers.commands import Outcome, run_small
from PIL import Image

from ttfs_cupy.common.files import writing
from ttfs_cupy.robustness import command, measurement
from ttfs_cupy.trained.opening import OpenedRun

pytest.importorskip("matplotlib", reason="the extra plot brings it")

FEW = ["--only", "jitter,weight-bits,salt", "--levels", "jitter=0.1,0.3", "--levels", "weight-bits=3,2"]
FEW += ["--levels", "salt=0.2", "--seeds", "2", "--images", "100"]
FILES = {f"robustness.{ending}" for ending in ("csv", "json", "png", "svg")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return tuple(  # type: ignore[return-value]
        run_small(folder / f"slope{slope}", network__psp_slope=slope, training__epochs=1) for slope in (0, 1)
    )


def robustness(*arguments: str | Path) -> Outcome:
    return commands.command(command.main, *arguments)


def refused(outcome: Outcome, sentence: str) -> None:
    assert (outcome.code, outcome.err) == (2, f"error: {sentence}\n")


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_run_leaves_a_table_and_a_figure(runs: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = robustness(runs[0], "-o", tmp_path / "out", *FEW)
    assert (outcome.code, outcome.err) == (0, "")
    assert names(tmp_path / "out") == FILES
    with (tmp_path / "out/robustness.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["disturbance"], line["level"], line["noise_seed"]) for line in lines] == [
        ("none", "", "0"),
        *(("jitter", level, seed) for level in ("0.1", "0.3") for seed in "01"),
        *(("weight-bits", level, "0") for level in "32"),
        *(("salt", "0.2", seed) for seed in "01"),
    ]
    rows = json.loads((tmp_path / "out/robustness.json").read_text())["rows"]
    shown = [
        line.split() for line in outcome.out.splitlines() if re.match("none|jitter .* |weight-bits .* |salt .* ", line)
    ]
    assert len(shown) == len(rows) == 6
    for cells, row in zip(shown, rows, strict=True):
        assert cells[-5] == f"{100 * row['accuracy']:.2f}" and cells[-1] == f"{row['firing_rate']:.3f}"
        own = [line for line in lines if line["disturbance"] == row["disturbance"]]
        own = [line for line in own if line["level"] == str(row["level"] or "")]
        assert row["accuracy"] == pytest.approx(sum(float(line["accuracy"]) for line in own) / len(own))
    for ending in ("png", "svg"):
        assert (tmp_path / f"out/robustness.{ending}").stat().st_size > 1000
    Image.open(tmp_path / "out/robustness.png").verify()
    # the same input, the same bytes
    assert robustness(runs[0], "-o", tmp_path / "again", *FEW).code == 0
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_a_pass_is_what_evaluate_measures(runs: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--only", "jitter,salt", "--levels", "jitter=0.2", "--levels", "salt=0.1", "--no-figure"]
    assert robustness(runs[1], "-o", tmp_path / "out", *options).code == 0
    assert names(tmp_path / "out") == {"robustness.csv", "robustness.json"}
    with (tmp_path / "out/robustness.csv").open(newline="") as file:
        lines = {(line["disturbance"], line["noise_seed"]): line for line in csv.DictReader(file)}
    for name, noise in (("jitter", ["--jitter", "0.2"]), ("salt", ["--corrupt", "salt", "0.1"])):
        outcome = commands.evaluate(runs[1], *noise, "--noise-seed", "2")
        (accuracy,) = re.findall(r"test accuracy  ([\d.]+) %", outcome.out)
        ((clean, changed),) = re.findall(r"without noise  ([\d.]+) %; ([\d.]+) %", outcome.out)
        line = lines[name, "2"]
        assert accuracy == f"{100 * float(line['accuracy']):.2f}"
        assert changed == f"{100 * float(line['changed']):.2f}"
        assert clean == f"{100 * float(lines['none', '0']['accuracy']):.2f}"


def test_several_runs_stand_side_by_side(runs: tuple[Path, Path], tmp_path: Path) -> None:
    outcome = robustness(*runs, "-o", tmp_path / "out", *FEW)
    assert (outcome.code, outcome.err) == (0, "")
    for slope in "01":
        assert outcome.out.count(f" psp_slope={slope} ") == 6
    content = json.loads((tmp_path / "out/robustness.json").read_text())
    assert [run["setting"] for run in content["runs"]] == ["psp_slope=0", "psp_slope=1"]
    # as if each had been measured alone
    for run in content["runs"]:
        alone = tmp_path / run["setting"]
        assert robustness(run["run"], "-o", alone, *FEW).code == 0
        (found,) = json.loads((alone / "robustness.json").read_text())["runs"]
        assert {**found, "setting": run["setting"]} == run
    assert names(tmp_path / "out") == FILES


def test_by_default_in_the_runs_own_directory(runs: tuple[Path, Path]) -> None:
    before = names(runs[0])
    assert robustness(runs[0], "--only", "blur", "--levels", "blur=1", "--images", "20", "--quiet").code == 0
    assert names(runs[0]) - before == {"robustness"} and names(runs[0] / "robustness") == FILES
    refused(
        robustness(runs[0], "--only", "blur"),
        f"'{runs[0]}/robustness/robustness.csv' is there already: name another folder with --output, or add --force",
    )
    before_force = (runs[0] / "robustness/robustness.csv").read_bytes()
    options = ["--only", "blur", "--levels", "blur=2", "--images", "20", "--force", "--quiet"]
    outcome = robustness(runs[0], *options)
    assert outcome.code == 0 and outcome.out.startswith("on 20 test images")
    assert (runs[0] / "robustness/robustness.csv").read_bytes() != before_force
    # the run can still be used, and goes on
    assert commands.evaluate(runs[0]).code == 0
    assert commands.train("--resume", runs[0]).code == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--only", "fog"], "--only: there is no disturbance 'fog', but "),
        (["--levels", "jitter=2"], "--levels jitter: jitter must be a number from 0 to 1, not 2"),
        (["--seeds", "0"], "--seeds must be a whole number from 1 to 1000, not 0"),
        (["--seeds", "5000"], "--seeds must be at most 1000, not 5000"),
        (["--images", "0"], "--images must be a whole number from 1, not 0"),
        (["--images", "361"], "--images 361 is more than the 360 of the test set"),
        (["--set", "nonsense=1"], "--set nonsense=1: "),
        (["--device", "gpu"], "--device gpu: "),
        (["-o", "missing/out"], "missing/out cannot be written: there is no folder missing"),
        (["-o", "file"], "'file' is no folder: name another one with --output"),
    ],
)
def test_mistakes_are_one_sentence(runs: tuple[Path, Path], options: list[str], sentence: str, here: Path) -> None:
    (here / "file").write_text("mine")
    outcome = robustness(runs[1], "-o", "out", *options)
    assert outcome.code == 2 and outcome.err.startswith(f"error: {sentence}") and outcome.err.count("\n") == 1
    assert names(here) == {"file"}


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    refused(robustness(folder), f"'{folder}' holds no run: there is no config.yaml in it")
    assert names(folder) == set()


def test_a_run_that_is_named_twice_is_refused(runs: tuple[Path, Path]) -> None:
    twice = runs[0] / ".." / runs[0].name
    refused(robustness(*runs, twice, "-o", "out"), f"'{runs[0]}' and '{twice}' are one run: name it once")


def test_several_runs_need_a_folder(runs: tuple[Path, Path]) -> None:
    refused(robustness(*runs), "of several runs the table belongs to none: name a folder for it with --output")


def test_runs_with_other_test_sets_are_refused(
    runs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, counts = OpenedRun.first_images, iter([50, 60])
    monkeypatch.setattr(OpenedRun, "first_images", lambda opened, _: real(opened, next(counts)))
    outcome = robustness(*runs, "-o", tmp_path / "out", "--only", "blur", "--levels", "blur=1")
    sentence = f"'{runs[0]}' has 50 test images, and '{runs[1]}' 60: runs of one table need as many, so add --images"
    refused(outcome, sentence)
    assert names(tmp_path) == set()


def test_without_matplotlib(runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(
        robustness(runs[0], "-o", tmp_path / "out"),
        "matplotlib, which draws the figure, is not installed: pip install 'ttfs-cupy[plot]', or add --no-figure",
    )
    assert names(tmp_path) == set()
    options = ["--only", "blur", "--levels", "blur=1", "--images", "20", "--no-figure"]
    assert robustness(runs[0], "-o", tmp_path / "out", *options).code == 0


def test_an_interrupted_measurement_leaves_nothing(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = measurement.predict, []

    def interrupted(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(measurement, "predict", interrupted)
    outcome = robustness(runs[0], "-o", tmp_path / "out", *FEW)
    assert (outcome.code, outcome.err) == (130, "interrupted\n")
    assert names(tmp_path) == set()


def test_all_files_or_none(runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Any:
        raise OSError(28, "No space left on device")

    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "robustness.csv").write_text("before")
    real = writing.written_aside
    monkeypatch.setattr(
        writing, "written_aside", lambda path, content: full() if path.suffix == ".svg" else real(path, content)
    )
    options = ["--only", "blur", "--levels", "blur=1", "--images", "20", "--force"]
    outcome = robustness(runs[0], "-o", folder, *options)
    assert outcome.code == 2 and "No space left on device" in outcome.err
    assert names(folder) == {"robustness.csv"} and (folder / "robustness.csv").read_text() == "before"


@pytest.mark.parametrize("said", ["weights of epoch", "  clean", "test images, in %"])
def test_nobody_reads_the_table(
    runs: tuple[Path, Path], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are there all the same."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            if said in text:
                raise BrokenPipeError
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Closed())
    options = ["--only", "blur", "--levels", "blur=1", "--images", "20", "--no-figure"]
    assert command.main([str(runs[0]), "-o", str(tmp_path / "out"), *options]) == 141
    assert names(tmp_path / "out") == {"robustness.csv", "robustness.json"}


def test_nobody_reads_a_pipe(runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its first line on, as with `| true`; the files are the same ones."""
    options = ["--only", "blur", "--levels", "blur=1", "--images", "20", "--no-figure"]
    assert robustness(*runs, "-o", tmp_path / "read", *options).code == 0
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert command.main([*map(str, runs), "-o", str(tmp_path / "unread"), *options]) == 141
    for name in ("robustness.csv", "robustness.json"):
        assert (tmp_path / "unread" / name).read_bytes() == (tmp_path / "read" / name).read_bytes()


def test_no_figure_of_other_numbers_stays(runs: tuple[Path, Path], tmp_path: Path) -> None:
    options = ["--only", "blur", "--levels", "blur=1", "--images", "20", "-o", tmp_path / "out"]
    assert robustness(runs[0], *options).code == 0
    for name in ("robustness.csv", "robustness.json"):
        (tmp_path / "out" / name).unlink()
    sentence = f"'{tmp_path}/out/robustness.png' is there already: name another folder with --output, or add --force"
    refused(robustness(runs[0], *options, "--no-figure"), sentence)
    outcome = robustness(runs[0], *options, "--no-figure", "--force")
    assert outcome.code == 0 and outcome.out.endswith("out: robustness.csv, robustness.json\n")
    assert names(tmp_path / "out") == {"robustness.csv", "robustness.json"}


def test_a_folder_that_is_a_link_to_nothing_is_refused_at_once(runs: tuple[Path, Path], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    outcome = robustness(runs[0], "-o", link, *FEW)
    refused(outcome, f"{link} cannot be made: it is a link to what is not there")
    assert outcome.out == ""


def test_runs_of_other_images_at_another_root_are_another_setting(tmp_path: Path) -> None:
    """Of files of one's own what lies there is the data set; a copy elsewhere is the same one."""
    for number, name in enumerate(("one.npz", "other.npz")):
        drawn = np.random.default_rng(number)
        images, labels = (drawn.integers(0, 256, (40, 8, 8), np.uint8) for _ in range(2)), np.arange(40) % 2
        arrays = dict(zip(("images", "test_images"), images, strict=True))
        np.savez(tmp_path / name, **arrays, labels=labels, test_labels=labels)
    shutil.copy(tmp_path / "one.npz", tmp_path / "copy.npz")
    runs = [
        run_small(
            tmp_path / f"{name}-{seed}",
            data__dataset="arrays",
            data__root=str(tmp_path / f"{name}.npz"),
            seed=seed,
            training__epochs=1,
            training__batch_size=20,
        )
        for name, seed in (("one", 0), ("copy", 1), ("other", 0))
    ]
    options = ["--only", "blur", "--levels", "blur=1", "--no-figure", "--quiet", "-o", tmp_path / "out"]
    outcome = robustness(*runs, *options)
    assert (outcome.code, outcome.err) == (0, "")
    settings = [run["setting"] for run in json.loads((tmp_path / "out/robustness.json").read_text())["runs"]]
    assert [setting.rpartition("/")[2] for setting in settings] == ["one.npz", "one.npz", "other.npz"]
    assert settings[0] == settings[1] and all(setting.startswith("root=") and len(setting) < 50 for setting in settings)
