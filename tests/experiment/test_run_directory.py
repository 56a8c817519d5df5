"""A run's directory, its files and its metrics, below the commands."""

import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from helpers.children import Child
from helpers.commands import FILES
from helpers.privileges import open_folder, without_privileges
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.engine.steps.firing_rates import FiringRates
from ttfs_cupy.experiment.files import checkpoint, run_directory
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.run_directory import RunDirectory


def test_a_new_run_holds_its_config(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "deep" / "run", "seed: 0\n")
    assert run.config.read_text() == "seed: 0\n"
    run.release()
    assert [path.name for path in run.path.iterdir()] == ["config.yaml"]
    assert RunDirectory.existing(run.path) == run


@pytest.mark.parametrize("name", sorted(FILES))
def test_any_file_of_a_run_keeps_another_one_out(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("old")
    with pytest.raises(UserError, match="already holds a run"):
        RunDirectory.create(tmp_path, "seed: 0\n")
    assert (tmp_path / name).read_text() == "old"


def test_other_files_may_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run = RunDirectory.create(tmp_path, "seed: 0\n")
    run.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_discarding_removes_the_folder(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "seed: 0\n")
    run.log.write_text("something")
    run.discard()
    assert list(tmp_path.iterdir()) == []


def test_the_first_unused_folder(tmp_path: Path) -> None:
    base = tmp_path / "runs" / "quickstart"
    names = []
    for has_config in (True, False, True):
        run = RunDirectory.claim_unused(base)
        names.append(run.path.name)
        if has_config:
            run.write_config("seed: 0\n")
        # the second is given back as it was
        run.release()
    assert names == ["quickstart", "quickstart-2", "quickstart-2"]
    assert {path.name for path in base.parent.iterdir()} == {"quickstart", "quickstart-2"}


def test_a_start_where_a_run_is_disturbs_nobody(tmp_path: Path) -> None:
    """Whoever goes on with that run meanwhile is not refused it."""
    (tmp_path / "config.yaml").touch()

    def start_again_and_again() -> int:
        for _ in range(2000):
            with pytest.raises(UserError, match="already holds a run"):
                RunDirectory.claim_new(tmp_path)
        return 0

    child = Child(start_again_and_again, tmp_path / "said")
    for _ in range(1000):
        with RunDirectory.existing(tmp_path).claimed():
            pass
    assert child.wait().code == 0


def test_other_users_runs_are_passed_by() -> None:
    with open_folder() as folder:
        base = folder / "runs" / "quickstart"
        base.parent.mkdir()
        base.parent.chmod(0o777)
        others = [base, *(base.with_name(f"quickstart-{number}") for number in (2, 3))]
        for path in others:
            path.mkdir()
        (others[0] / "config.yaml").touch()
        (others[1] / "config.yaml").touch()
        # out of reach; to be read alone; with nothing in it
        modes = (0o000, 0o555, 0o555)
        for path, mode in zip(others, modes, strict=True):
            path.chmod(mode)
        (base.parent / "quickstart-4").touch()
        with without_privileges():
            assert RunDirectory.claim_unused(base).path.name == "quickstart-5"
            for path in (others[0], others[2]):
                with pytest.raises(UserError, match="cannot be made or written: Permission denied"):
                    RunDirectory.claim_new(path)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_where_no_run_can_be_made_no_other_name_helps(mode: int) -> None:
    with open_folder() as folder:
        (folder / "runs" / "quickstart").mkdir(parents=True)
        (folder / "runs" / "quickstart" / "config.yaml").touch()
        (folder / "runs").chmod(mode)
        with without_privileges(), pytest.raises(UserError, match="cannot be made or written: Permission denied"):
            RunDirectory.claim_unused(folder / "runs" / "quickstart")


def test_where_the_folder_is_gone_no_other_name_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for path in ("runs/quickstart", "/proc/runs/quickstart"):
        with pytest.raises(UserError, match=f"'{path}' cannot be made or written: no such file"):
            RunDirectory.claim_unused(Path(path))


def test_names_come_to_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_directory, "MOST_NAMES", 3)
    for name in ("run", "run-2", "run-3"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"run' and those after it, to '.*run-3', are taken: name another folder with"):
        RunDirectory.claim_unused(tmp_path / "run")


def test_one_object_in_two_threads(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "seed: 0\n")
    attempts: list[Callable[[], object]] = [run.claim, run.discard, lambda: ExitStack().enter_context(run.claimed())]
    with ThreadPoolExecutor(1) as other, run.claimed():
        # of a write that is under way
        (run.path / ".last.safetensors-0123cdef").touch()
        for attempt in attempts:
            with pytest.raises(UserError, match="in use by another thread of this process: let it end"):
                other.submit(attempt).result()
        assert run.config.exists() and (run.path / ".last.safetensors-0123cdef").exists()


def test_a_claim_clears_what_a_killed_process_left(tmp_path: Path) -> None:
    ours = [
        f".{name}-0123cdef"
        for name in ("config.yaml", "split.json", "metrics.jsonl", "best.safetensors", "last.safetensors")
    ]
    # as earlier versions named them
    ours += [".last.safetensors-x3_k0zq9"]
    others = [
        ".last.safetensors-",
        ".last.safetensors-backup1.old",
        ".other.yaml-0123cdef",
        "last.safetensors-0123cdef",
    ]
    for name in (*ours, *others):
        (tmp_path / name).touch()
    with RunDirectory(tmp_path).claimed():
        pass
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_reading_claims_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    (tmp_path / ".config.yaml-0123cdef").touch()
    run = RunDirectory.existing(tmp_path)
    assert run.owner() is None
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", ".config.yaml-0123cdef"}


def test_discarding_leaves_a_run_at_work_alone(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", "seed: 0\n")
    with run.claimed():
        with pytest.raises(UserError, match="in use by this process"):
            RunDirectory(run.path).discard()
        assert run.config.exists()
    RunDirectory(run.path).discard()
    # which that object had not made
    assert list(tmp_path.rglob("*")) == [run.path]


def test_a_log_that_cannot_be_written_is_a_users_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("ttfs_cupy")
    monkeypatch.setattr(RunDirectory, "log", Path("/dev/full"))
    # by setLevel: a logger remembers what it was not to say
    caplog.set_level(logging.INFO, logger.name)
    RunDirectory(tmp_path).keep_log()
    handler = logger.handlers[-1]
    try:
        with pytest.raises(UserError, match="/dev/full cannot be written: No space left on device"):
            logger.info("a line")
    finally:
        logger.removeHandler(handler)
        handler.close()


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays: dict[str, np.ndarray] = {"b": table, "a": np.array([3], np.int64), "view": table.T}
    metadata = {"epoch": 3, "accuracy": 0.1, "nested": {"name": "ä"}}
    checkpoint.save(tmp_path / "weights.safetensors", arrays, metadata)
    loaded, loaded_metadata = checkpoint.load(tmp_path / "weights.safetensors")
    assert loaded_metadata == metadata
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


def test_metrics_are_whole_after_each_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    for epoch in range(1, 4):
        file.add(epoch=epoch, train_loss=1 / epoch)
        assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == list(range(1, epoch + 1))
    file.add(test_accuracy=0.5)
    assert [line.get("epoch") for line in MetricsFile.of_epochs(path, 2).lines] == [1, 2]
    assert MetricsFile.of_epochs(tmp_path / "absent.jsonl", 2).lines == []


def test_writing_replaces_a_file_and_keeps_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two" * 10_000, b""):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002, 0o000])
def test_a_file_has_the_permissions_that_the_umask_leaves(mask: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    before = os.umask(mask)
    try:
        write_atomically(path, b"content")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_firing_rates_are_the_share_of_neurons_that_fired() -> None:
    net = models.build([5, "P", {"linear": 7}], (1, 12, 12), 3, DEVICE)
    rates = FiringRates(net)
    fired = {"conv1": 0, "linear1": 0}
    rng = np.random.default_rng(0)
    for count in (40, 40, 11):
        net.run(net.encode(rng.random((count, 1, 12, 12)) * (rng.random((count, 1, 1, 1)) < 0.5)), watch=rates.watch)
        times = net.spike_times()
        for name in fired:
            fired[name] += int(np.isfinite(times[name]).sum())
    expected = {"conv1": fired["conv1"] / (91 * 5 * 144), "linear1": fired["linear1"] / (91 * 7)}
    assert rates.read(91) == pytest.approx(expected)
    assert 0 < expected["linear1"] < 1


@pytest.mark.parametrize("t_win", [1.0, 0.3])
def test_saturations_are_the_share_of_neurons_that_fired_as_their_window_opened(t_win: float) -> None:
    net = models.build([5, "P", {"linear": 7}], (1, 12, 12), 3, DEVICE, t_win=t_win, weight_mean=0.02)
    rates = FiringRates(net)
    at_once = {"conv1": 0, "linear1": 0}
    rng = np.random.default_rng(0)
    for count in (40, 11):
        net.run(net.encode(rng.random((count, 1, 12, 12))), watch=rates.watch)
        times = net.spike_times()
        for name in at_once:
            at_once[name] += int((times[name] == 0).sum())
    expected = {"conv1": at_once["conv1"] / (51 * 5 * 144), "linear1": at_once["linear1"] / (51 * 7)}
    assert rates.read_saturations(51) == pytest.approx(expected)
    fired = rates.read(51)
    for name, share in expected.items():
        assert 0 < share < fired[name]
    rates.reset()
    assert set(rates.read_saturations(51).values()) == {0.0}
