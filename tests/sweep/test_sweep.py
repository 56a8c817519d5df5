"""The command: runs of its own processes, what is left of a sweep that ends early, and what it refuses."""

import csv
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import commands, waiting
from helpers.commands import DEVICE, SMALL, Outcome, metrics, sweep, timeless, yaml_text
from helpers.processes import ends, started
from helpers.refusals import refused, tree

from ttfs_cupy.common.command.typed_command import typed

# of both seeds and both rates: enough epochs to be killed in
EPOCHS = 10
NAMES = [f"optimizer.lr={rate},seed={seed}" for rate in ("1e-3", "3e-3") for seed in (0, 1)]


def small(output: Path, *, seeds: str = "0-1", **changes: Any) -> list[str]:
    """The arguments of a sweep over two rates, two runs at once. changes: as helpers.commands.small takes them."""
    values = {**SMALL, "optimizer.lr": "1e-3,3e-3", "training.epochs": str(EPOCHS)}
    values |= {key.replace("__", "."): yaml_text(value) for key, value in changes.items()}
    sets = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    seeded = ["--seeds", seeds] if seeds else []
    return ["quickstart", "--output", str(output), "--devices", f"{DEVICE},{DEVICE}", "--no-tune", *seeded, *sets]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def begun(folder: Path, *, least: int = 1) -> Callable[[], bool]:
    """Whether so many runs have an epoch behind them, and are not finished."""

    def is_so() -> bool:
        files = list(folder.glob("*/metrics.jsonl"))
        return sum("test_accuracy" not in file.read_text() for file in files) >= least

    return is_so


@contextmanager
def at_work(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A sweep in a process of its own, of which nothing is left in the end."""
    process = started([sys.executable, "-m", "ttfs_cupy.sweep", *arguments])
    try:
        yield process
    finally:
        for child in runs_of(process):
            child.kill()
        process.kill()
        process.communicate()


def runs_of(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """For processes that start on a machine that does much else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "SECONDS", 60.0)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    """A sweep that nobody has disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "sweep"
    outcome = sweep(*small(folder))
    assert (outcome.code, outcome.err) == (0, "")
    return folder, outcome


def test_every_combination_is_trained(whole: tuple[Path, Outcome]) -> None:
    folder, outcome = whole
    assert {path.name for path in folder.iterdir()} == {*NAMES, "sweep.json", "base.yaml", "sweep.csv"}
    rows = table(folder)
    assert [row["directory"] for row in rows] == NAMES
    for row in rows:
        *epochs, test = metrics(folder / row["directory"])
        assert float(row["test_accuracy"]) == test["test_accuracy"]
        best = max(line["validation_accuracy"] for line in epochs)
        assert float(row["best_validation_accuracy"]) == best
        assert (row["status"], row["epochs"], row["error"]) == ("finished", str(EPOCHS), "")
        assert row["training.batch_size"] == SMALL["training.batch_size"]
        assert f"optimizer.lr={row['optimizer.lr']},seed={row['seed']}" == row["directory"]
    # what the console shows
    for number, name in enumerate(NAMES, 1):
        assert f"run {number} of 4, {name}: starts on {DEVICE}\n" in outcome.out
        accuracy = 100 * float(rows[number - 1]["test_accuracy"])
        assert f"run {number} of 4, {name}: test accuracy {accuracy:.2f} %, " in outcome.out
    assert "epoch 1/" not in outcome.out
    assert f"epoch {EPOCHS}/{EPOCHS}: " in (folder / NAMES[0] / "log.txt").read_text()
    assert outcome.out.endswith(f"a line for each run: {folder / 'sweep.csv'}\n")


def test_a_run_of_a_sweep_is_what_train_makes_of_its_settings(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    alone = commands.run_small(tmp_path / "run", training__epochs=EPOCHS, optimizer__lr="3e-3", seed=1, tune=False)
    assert timeless(alone) == timeless(whole[0] / NAMES[3])


def test_a_finished_sweep_only_says_its_table_again(whole: tuple[Path, Outcome]) -> None:
    folder, outcome = whole
    before = tree(folder)
    said = outcome.out[outcome.out.index("\naccuracies") :]
    for arguments in (small(folder), ["--resume", str(folder)]):
        again = sweep(*arguments)
        assert (again.code, again.err, again.out) == (0, "", f"4 of 4 runs are finished already\n{said}")
    assert tree(folder) == before


def test_another_sweep_is_refused_in_its_folder(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder, _ = whole
    before = tree(folder)
    go_on = f": name another folder with --output, or go on with it: {typed('sweep', '--resume', folder)}"
    seeds = "holds a sweep with another --seeds, which were '[0, 1]', and are '[0, 1, 2]' now"
    refused(sweep(*small(folder, seeds="0-2")), f"'{folder}' {seeds}{go_on}")
    refused(sweep(*small(folder, training__epochs=3)), "another --set, which were ", go_on)
    refused(sweep(*[part for part in small(folder) if part != "--no-tune"]), f"another --no-tune{go_on}")
    config = tmp_path / "quickstart.yaml"
    config.write_text((folder / "base.yaml").read_text())
    assert sweep(str(config), *small(folder)[1:]).code == 0
    config.write_text(config.read_text().replace("momentum", "").replace("seed: 0", "seed: 7"))
    refused(sweep(str(config), *small(folder)[1:]), f"another config, which has changed{go_on}")
    for option in (["--seeds", "1"], ["--set", "a=1"], ["--output", "x"], ["--no-tune"]):
        refused(sweep("--resume", folder, *option), "--resume goes on with the sweep's own settings: leave out")
    assert tree(folder) == before


def test_killed_at_any_time_it_goes_on_to_the_same_bits(whole: tuple[Path, Outcome], tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with at_work(*small(folder)) as process:
        waiting.wait_until(begun(folder))
        for child in [*runs_of(process), process]:
            child.kill()
    with at_work(*small(folder)) as process:
        waiting.wait_until(lambda: begun(folder)() and len(runs_of(process)) == 2)
        runs = runs_of(process)
        process.kill()
        # nobody is left who would wait for them
        assert all(ends(run.pid) for run in runs)
    outcome = sweep("--resume", folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert ": goes on on " in outcome.out
    for name in NAMES:
        assert timeless(folder / name) == timeless(whole[0] / name)
        for file in ("best.safetensors", "last.safetensors"):
            assert (folder / name / file).read_bytes() == (whole[0] / name / file).read_bytes()
    results = [[{key: row[key] for key in row if key != "seconds"} for row in table(f)] for f in (folder, whole[0])]
    assert results[0] == results[1]
    assert (
        outcome.out[outcome.out.index("\naccuracies") :].splitlines()[:-1]
        == (whole[1].out[whole[1].out.index("\naccuracies") :].splitlines()[:-1])
    )


def test_control_c_has_the_runs_save_and_a_second_sweep_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with at_work(*small(folder, training__epochs=100_000)) as process:
        waiting.wait_until(begun(folder, least=2))
        owner = f"process {process.pid} on {socket.gethostname()}"
        refused(
            sweep(*small(folder, training__epochs=100_000)),
            f"'{folder}' is in use by {owner}: let it end, or interrupt it, first",
        )
        runs = runs_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.endswith(f" --resume {folder}\n")
    assert "interrupted: 0 of 4 runs are finished; go on with: " in out
    assert len(runs) == 2 and not any(run.is_running() for run in runs)
    for name in NAMES[:2]:
        assert "interrupted: " in (folder / name / "log.txt").read_text()
        assert (folder / name / "last.safetensors").exists()
    assert [row["status"] for row in table(folder)] == ["not finished"] * 4


def test_sigusr1_has_the_runs_save(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with at_work(*small(folder, training__epochs=100_000)) as process:
        waiting.wait_until(begun(folder, least=2))
        process.send_signal(signal.SIGUSR1)
        waiting.wait_until(lambda: all("saved: " in (folder / name / "log.txt").read_text() for name in NAMES[:2]))
        assert process.poll() is None and len(runs_of(process)) == 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with at_work(*small(folder, training__epochs=100_000)) as process:
        waiting.wait_until(begun(folder, least=2))
        runs = runs_of(process)
        for run in runs:
            # it will not answer
            run.suspend()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (143, "")
        assert not any(run.is_running() for run in runs)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    arguments = small(folder, training__batch_size="1000000,128", training__epochs=1, optimizer__lr="3e-3", seeds="4")
    failed, done = (f"training.batch_size={size},seed=4" for size in ("1000000", "128"))
    outcome = sweep(*arguments)
    assert (outcome.code, outcome.err) == (1, "")
    sentence = "training.batch_size 1000000 is larger than the training set of 1293 images"
    assert f"run 1 of 2, {failed}: failed: {sentence}" in outcome.out
    assert f"run 2 of 2, {done}: test accuracy " in outcome.out
    assert f"\nfailed: {failed}: {sentence}" in outcome.out
    assert [(row["status"], sentence in row["error"]) for row in table(folder)] == [
        ("failed", True),
        ("finished", False),
    ]
    assert f"{failed}:\nerror: {sentence}" in (folder / "errors.txt").read_text()
    assert not (folder / failed).exists()
    # it is tried again, the other is not; an own run in its place is not touched
    shutil.copytree(folder / done, folder / failed)
    again = sweep("--resume", folder)
    assert again.code == 0 and "2 of 2 runs are finished already" in again.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--set", "optimizer.lrr=1"], "--set optimizer.lrr=1: optimizer.lrr is not a key: did you mean optimizer.lr?"),
        (["--seeds", "4-0"], "'4-0' ends before it begins"),
        (["--set", "optimizer.lr=1,"], "a value is empty"),
        (["--devices", "cuda:9"], "device 'cuda:9' cannot be used: "),
        (["--devices", "gpu"], "'gpu' is no device"),
        (["--output", "a file"], "the sweep's folder 'a file' cannot be made or written: it, or a folder above it"),
        (["--output", "a file/below"], "the sweep's folder 'a file/below' cannot be made or written"),
        (["--output", "full"], "'full' holds something else than a sweep ('notes.txt', for one): name another folder"),
        (["--resume", "full"], "not allowed with argument"),
    ],
)
def test_mistakes_are_sentences_and_leave_nothing(changes: list[str], words: str, here: Path) -> None:
    (here / "a file").touch()
    (here / "full").mkdir()
    (here / "full" / "notes.txt").touch()
    before = tree(here)
    refused(sweep("quickstart", *changes), words)
    assert tree(here) == before


def test_a_folder_without_a_sweep_has_none_to_go_on_with(here: Path) -> None:
    for folder in ("absent", "empty"):
        (here / "empty").mkdir(exist_ok=True)
        refused(sweep("--resume", folder), f"'{folder}' holds no sweep: there is no sweep.json in it")
    for text, words in [
        ("[]", "it is [], not keys and values"),
        ("{", "it is not JSON"),
        ("{}", "'config': Field required"),
        (json.dumps({"config": {}, "settings": {}, "seeds": ["0"], "tune": True, "devices": None}), "'seeds.0': Input"),
    ]:
        (here / "empty" / "sweep.json").write_text(text)
        refused(sweep("--resume", "empty"), f"is not the file that ttfs-sweep wrote: {words}")


def test_a_dry_run_says_what_there_would_be_and_changes_nothing(whole: tuple[Path, Outcome], here: Path) -> None:
    outcome = sweep("quickstart", "--seeds", "0-1", "--set", "network.model=[8, P],[{linear: 3}]", "--dry-run")
    assert (outcome.code, outcome.err) == (0, "")
    first, *names = outcome.out.splitlines()
    assert first == "4 runs in runs/quickstart-sweep, one at a time on each of: auto"
    assert [name.split("-")[0] for name in names] == [
        f"  network.model={model},seed={seed}" for model in ("_8_P_", "_linear_3_") for seed in (0, 1)
    ]
    assert tree(here) == {}
    outcome = sweep("--resume", whole[0], "--dry-run")
    assert outcome.out.splitlines()[1:] == [f"  {name} (finished)" for name in NAMES]


def test_a_dry_run_of_a_base_that_lacks_what_is_set(here: Path) -> None:
    (here / "mine.yaml").write_text("seed: 3\ndata: {dataset: digits}\ntraining: {epochs: 1}\n")
    outcome = sweep("mine.yaml", "--set", "training.batch_size=1,2", "--dry-run")
    assert (outcome.code, outcome.out.splitlines()[1:]) == (
        0,
        [f"  training.batch_size={size},seed=3" for size in (1, 2)],
    )


def test_a_start_that_was_killed_in_its_first_moments_is_none(here: Path) -> None:
    arguments = ["quickstart", "--output", "sweep", "--dry-run"]
    (here / "sweep").mkdir()
    for name in (".sweep.json-0123abcd", ".base.yaml-0123abcd", ".ttfs_cupy-lock"):
        (here / "sweep" / name).touch()
    assert sweep(*arguments).code == 0
    (here / "sweep" / "base.yaml").write_text("seed: 0\n")
    refused(sweep(*arguments), "holds something else than a sweep ('base.yaml', for one)")


def test_whoever_reads_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    with at_work(*small(folder, training__epochs=3)) as process:
        waiting.wait_until(lambda: len(runs_of(process)) == 2)
        runs = runs_of(process)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        process.stdout = None
        assert process.wait(60) == 141
        assert process.stderr.read() == ""
        assert len(runs) == 2 and not any(run.is_running() for run in runs)
