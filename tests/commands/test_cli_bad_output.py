"""A folder that cannot be written, and a disk that is full: one sentence, nothing half-written."""

import contextlib
import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.commands import metrics, run_small, small, timeless, train
from helpers.privileges import without_privileges
from helpers.refusals import refused, tree

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.experiment.files import checkpoint

# an empty working directory
pytestmark = pytest.mark.usefixtures("here")


def test_an_output_with_a_run_in_it_is_left_alone(good_run: Path) -> None:
    before = tree(good_run)
    refused(train(*small(good_run)), str(good_run), "already holds a run", "--output", "--resume")
    assert tree(good_run) == before


def test_an_output_with_weights_and_no_config_is_left_alone_too(here: Path) -> None:
    (here / "best.safetensors").write_bytes(b"somebody's")
    refused(train(*small(here)), "already holds a run")
    assert tree(here) == {"best.safetensors": b"somebody's"}


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_file_where_the_output_should_be(below: str, here: Path) -> None:
    (here / "file").write_text("in the way")
    output = here / "file" / below
    refused(train(*small(output)), f"'{output}' cannot be made or written: {here / 'file'} is no directory")
    assert tree(here) == {"file": b"in the way"}


def test_an_output_with_too_long_a_name(here: Path) -> None:
    refused(train(*small(here / ("x" * 300))), "x" * 300, "name too long")
    assert tree(here) == {}


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_an_output_that_may_not_be_written(mode: int) -> None:
    # pytest's own folders are closed to nobody
    folder = Path(tempfile.mkdtemp())
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.callback(folder.chmod, 0o755)
        folder.chmod(mode)
        stack.enter_context(without_privileges())
        outcome = train(*small(folder / "out"))
    refused(outcome, str(folder), "Permission denied")


# A full disk


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes fail beyond so many bytes of a file: what a full disk does, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "file"),
    [(0, "config.yaml"), (200, "config.yaml"), (3300, "log.txt"), (20_000, "last.safetensors")],
)
def test_no_room_for_the_first_files_of_a_run(size: int, file: str, good_run: Path, here: Path) -> None:
    # the kernels are built, and their cache written, by the good run; so many layers make the log's table long. They
    # are not tuned: three algorithms' names for each layer, where those are fastest, would make the config longer
    with largest_file(size):
        outcome = train(*small(here / "out", network__model=[8] * 60, tune=False))
    refused(outcome, str(here / "out" / file), "cannot be written", "File too large")
    assert tree(here) == {}
    # nothing is in the way of a second try
    assert train(*small(here / "out", training__epochs=1)).code == 0


def test_a_disk_that_fills_up_in_the_middle_of_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"training__epochs": 3}
    whole = run_small(here / "whole", **settings)
    real, writes = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        # config, split, last; best, metrics, table and last of the first epoch; best, metrics and table of the second
        if writes > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    run = here / "run"
    refused(train(*small(run, **settings)), str(run), "cannot be written", "No space left on device")
    monkeypatch.undo()
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}  # no temporary file
    assert len(metrics(run)) == 2
    checkpoint.load(run / "best.safetensors")
    checkpoint.load(run / "last.safetensors")
    assert train("--resume", run).code == 0
    assert timeless(run) == timeless(whole)


@pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
def test_writing_is_all_or_nothing(fails: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here / "file"
    write_atomically(path, b"the old content")
    if fails == "write":
        with largest_file(1000), pytest.raises(UserError, match="file cannot be written: File too large"):
            write_atomically(path, b"x" * 100_000)
    else:
        owner, name = (os, "fsync") if fails == "fsync" else (Path, "replace")

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(owner, name, fail)
        with pytest.raises(UserError, match="file cannot be written: No space left on device"):
            write_atomically(path, b"x" * 100_000)
    assert tree(here) == {"file": b"the old content"}


def test_a_name_that_cannot_be_had_leaves_nothing_either(here: Path) -> None:
    path, name = here / "file", here / "name"
    write_atomically(path, b"the old content")
    name.mkdir()
    with pytest.raises(UserError, match="name cannot be written: Is a directory"):
        write_atomically(path, b"new", previous=name)
    assert tree(here) == {"file": b"the old content", "name": None}
