"""What no command writes over: a run's own files; and what is no file."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import commands
from helpers.commands import run_small

from ttfs_cupy import UserError, simulate
from ttfs_cupy.check import command as check_command
from ttfs_cupy.common.files.writing import check_new_folder, check_writable
from ttfs_cupy.experiment.files.outputs import check_of_no_run, check_output
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.export import command as export_command
from ttfs_cupy.trained import predict_command
from ttfs_cupy.trained.opening import open_run

KEPT = "checkpoints/epoch-0001.safetensors"
OWN = [
    *("config.yaml", "split.json", "metrics.jsonl", "metrics.csv", "log.txt", "best.safetensors", "last.safetensors"),
    *("previous.safetensors", "epoch-0300.safetensors", KEPT, "checkpoints/epoch-12345.safetensors"),
    "loggers/tensorboard/events",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = run_small(tmp_path_factory.mktemp("outputs") / "run", training__epochs=1, training__keep="{every: 1}")
    (run / "sub").mkdir()
    return run


def refused(file: Path, run: Path) -> None:
    sentence = f"'{file}' is a file of the run in '{run}': name another one"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        check_of_no_run(file)


@pytest.mark.parametrize("name", OWN)
def test_a_runs_own_files_are_refused_even_if_they_are_not_there(run: Path, name: str) -> None:
    refused(run / name, run)


@pytest.mark.parametrize(
    "name", ["energy.json", "epoch-1.safetensors", "sub/best.safetensors", "checkpoints/best.safetensors", "../log.txt"]
)
def test_what_others_put_beside_them_is_not(run: Path, name: str) -> None:
    check_of_no_run(run / name)


def test_by_whatever_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.json").symlink_to(run / KEPT)
    refused(tmp_path / "link.json", run)
    (tmp_path / "runs").symlink_to(run)
    refused(tmp_path / "runs/best.safetensors", tmp_path / "runs")
    monkeypatch.chdir(run)
    for name in ("best.safetensors", "sub/../best.safetensors"):
        with pytest.raises(UserError, match=f"^'{name}' is a file of the run in "):
            check_of_no_run(Path(name))


def test_weights_that_were_moved_elsewhere_are_the_runs(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    (tmp_path / "large/checkpoints").mkdir(parents=True)
    run.path.mkdir()
    run.config.write_text("seed: 1")
    run.checkpoints.symlink_to(tmp_path / "large/checkpoints")
    run.best.symlink_to(tmp_path / "large/weights")
    for file in (run.best, run.kept(3)):
        refused(file, run.path)


def test_no_command_writes_over_a_kept_checkpoint(run: Path, tmp_path: Path) -> None:
    kept = run / KEPT
    before = kept.read_bytes()
    sentence = f"error: '{kept}' is a file of the run in '{run}': name another one\n"
    # of whichever run
    other = run_small(tmp_path / "other", training__epochs=1)
    calls: list[Callable[[], commands.Outcome]] = [
        lambda: commands.command(commands.convert_command.main, other, "-o", kept, "--force"),
        lambda: commands.command(commands.convert_command.main, run, "-o", kept, "--force"),
        lambda: commands.command(check_command.main, "--report", kept),
        lambda: commands.command(predict_command.main, run, "image.png", "-o", kept, "--force"),
        lambda: commands.command(simulate.main, run, "--json", kept, "--force"),
    ]
    for call in calls:
        outcome = call()
        assert (outcome.code, outcome.err) == (2, sentence)
    assert kept.read_bytes() == before


def test_no_network_is_exported_over_one(run: Path) -> None:
    pytest.importorskip("onnx", reason="the extra onnx brings it")
    kept = run / KEPT
    outcome = commands.command(export_command.main, run, "--onnx", kept, "--force")
    assert (outcome.code, outcome.err) == (2, f"error: '{kept}' is a file of the run in '{run}': name another one\n")


def test_others_are_written_over_when_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    check_output(file, force=False)
    file.touch()
    check_output(file, force=True)
    with pytest.raises(UserError, match=r"^--onnx '.*/file' is there already: name another one, or add --force$"):
        check_output(file, force=False, option="--onnx", other="another one")


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"^'.*/link' is there already: name another file, or add --force$"):
        check_output(link, force=False)
    check_output(link, force=True)


def test_pipes_and_devices_keep_their_names(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for file, sentence in (
        (pipe, "is a pipe, not a file"),
        (tmp_path / "link", "is a pipe, not a file"),
        (Path("/dev/null"), "is a device, not a file"),
        # there are links to outputs, which may be files
        (Path("/dev/nothing_yet"), "cannot be written: it is a device"),
    ):
        with pytest.raises(UserError, match=f"^{file} {sentence}$"):
            check_writable(file)
    check_writable(tmp_path / "new")


def test_a_folder_is_not_made_in_place_of_a_link(tmp_path: Path) -> None:
    check_new_folder(tmp_path / "new")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"/link cannot be made: it is a link to what is not there$"):
        check_new_folder(tmp_path / "link")


def test_the_first_test_images(run: Path) -> None:
    opened = open_run(run)
    test = opened.experiment.test
    assert opened.first_images(None) is test
    first = opened.first_images(7)
    np.testing.assert_array_equal(first.images.images, test.images.images[:7])
    np.testing.assert_array_equal(first.labels, test.labels[:7])
    assert (first.batch_size, first.resident, len(first.members)) == (7, test.resident, 7)
    with pytest.raises(UserError, match=r"^--images 361 is more than the 360 of the test set$"):
        opened.first_images(361)
    with pytest.raises(UserError, match=r"^--images must be a whole number from 1, not 0$"):
        opened.first_images(0)
