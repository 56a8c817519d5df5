"""Little memory, address space or few threads: one sentence, no hang, and nothing left of a run that had not begun."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import STEPS, Outcome, metrics, small, train
from helpers.environments import REPOSITORY
from helpers.refusals import refused, tree

from ttfs_cupy.check import command as check
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine import address_space
from ttfs_cupy.common.packages import imported
from ttfs_cupy.device.compilation import cpu_library
from ttfs_cupy.engine.steps.training_step import TrainingStep


def limited(kib: int, *arguments: str | Path, here: Path) -> Outcome:
    """The real command as `ulimit -v` leaves it."""
    done = subprocess.run(
        [sys.executable, "-m", "ttfs_cupy.train", *map(str, arguments)],
        cwd=here,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (kib << 10, kib << 10)),
        capture_output=True,
        text=True,
        # OpenBLAS would try for ever
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_too_little_to_begin_in(here: Path) -> None:
    words = "too little address space is left to begin in: raise the limit that is set (ulimit -v)"
    refused(limited(100_000, *small(here / "run"), here=here), words)
    assert tree(here) == {}


# what is enough depends on the machine
@pytest.mark.parametrize("kib", [240_000, 280_000, 345_000, 400_000])
def test_it_ends_with_a_sentence_or_well(kib: int, here: Path) -> None:
    # what a compiler takes is not asked here
    cpu_library.load()
    outcome = limited(kib, *small(here / "run", training__epochs=1), here=here)
    if outcome.code:
        sentence = refused(outcome)
        assert any(what in sentence for what in ("memory", "address space", "thread")), sentence
        # of a run whose epochs are over, one may measure the weights
        assert (here / "run" / "best.safetensors").exists() or tree(here) == {}


IMPORTED = "import sys; sys.path.insert(0, '.'); from ttfs_cupy.common.command import entry; entry.run('command')"


@pytest.mark.parametrize(
    ("error", "is_limited", "said"),
    [
        ("MemoryError", True, "error: too little address space is left"),
        ("ImportError('torch.so: failed to map segment from shared object')", True, "error: too little address space"),
        ("ImportError('no module')", True, "Traceback"),
        ("MemoryError", False, "Traceback"),
    ],
)
def test_a_command_that_cannot_be_imported(error: str, is_limited: bool, said: str, here: Path) -> None:
    (here / "command.py").write_text(f"raise {error}\n")
    size = 2 << 30 if is_limited else resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1])),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr.startswith(said), done.stderr
    assert done.returncode == (1 if said == "Traceback" else 2)


def test_a_library_is_not_imported_without_room_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address_space.has_room()
    assert not address_space.has_room(1 << 62)
    monkeypatch.setattr(address_space, "has_room", lambda: False)
    with pytest.raises(UserError, match=r"to import this \(less than 192 MiB of address space are left\): end other"):
        imported("this", "this", "none")
    assert "this" not in sys.modules
    # one that is there needs none
    assert imported("json", "json", "none").loads("1") == 1


def test_which_errors_are_for_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(error: Exception, before: Exception | None = None) -> bool:
        error.__cause__ = before
        return address_space.is_behind(error)

    unmapped = ImportError("torch.so: failed to map segment from shared object")
    for room in (True, False):
        monkeypatch.setattr(address_space, "has_room", lambda room=room: room)
        assert of(MemoryError()) and of(unmapped) and of(ImportError("numpy does not work"), unmapped)
        assert of(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
        # however little is left
        assert not of(ImportError("No module named 'that'")) and not of(OSError("that.so: undefined symbol: it"))
        assert of(SystemError("error return without exception set")) == (not room)


def test_check_needs_more(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(address_space, "is_limited", lambda: True)
    monkeypatch.setattr(address_space, "has_room", lambda size: size < 1 << 30)
    assert check.main(["--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: less than 2 GiB of address space are left, ")


# In the middle of a run


@pytest.mark.parametrize("step", [1, STEPS + 2])
@pytest.mark.parametrize("lacks", ["memory", "threads"])
def test_a_run_in_its_first_epoch_is_none(lacks: str, step: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, steps = TrainingStep.run, 0

    def run(self: TrainingStep) -> Any:
        nonlocal steps
        steps += 1
        if steps == step:
            raise MemoryError if lacks == "memory" else RuntimeError("can't start new thread")
        return real(self)

    monkeypatch.setattr(TrainingStep, "run", run)
    words = "the memory does not suffice" if lacks == "memory" else "no further thread can be started"
    refused(train(*small(here / "run")), words)
    if step == 1:
        assert tree(here) == {}
    else:
        # what is over may be gone on from
        assert len(metrics(here / "run")) == 1
