"""A disk that is full, or read-only, at checkpoint time: real ones, where they can be mounted."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import Outcome, resumes_to, run_small, small, timeless, train
from helpers.disks import fill, small_disk, write_protected
from helpers.refusals import refused

from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.progress import Progress

SETTINGS: dict[str, Any] = {
    "training__epochs": 2,
    "training__checkpoint_every": "{steps: 2}",
    "training__keep": "{last: 1}",
    "training__average": 0.9,
    "network__psp_slope": "{from: 0, to: 1, end: 0.5}",
    "data__augment": "shift_erase",
}
# of an epoch's eleven steps: those with a checkpoint after them
WITHIN = 5


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **SETTINGS)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk") as found:
        yield found


@contextmanager
def full(run: Path) -> Iterator[None]:
    filler = fill(run.parent)
    try:
        yield
    finally:
        filler.unlink()


Trouble = Callable[[Path], AbstractContextManager[None]]
TROUBLES = [(full, "No space left on device"), (write_protected, "Read-only file system")]


def trained_with(
    trouble: Trouble, first: int, last: int, run: Path, monkeypatch: pytest.MonkeyPatch, stack: ExitStack
) -> Outcome:
    """Trains while there is trouble, from that checkpoint within an epoch until before that one; at the latest it ends
    with the stack."""
    calls, real = itertools.count(1), Checkpoints.within_epoch

    def work(self: Checkpoints, progress: Progress, place: str, *, is_asked: bool) -> None:
        number = next(calls)
        self.finish()
        if number == first:
            stack.enter_context(trouble(run))
        elif number == last:
            stack.close()
        real(self, progress, place, is_asked=is_asked)
        self.finish()
        # whatever came of it
        checkpoint.load(run / "last.safetensors")
        checkpoint.load(run / "previous.safetensors")
        assert not list(run.glob(".*safetensors*"))

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "within_epoch", work)
        return train(*small(run, **SETTINGS))


@pytest.mark.parametrize(("trouble", "reason"), TROUBLES)
@pytest.mark.parametrize("first", [2, WITHIN + 1])
def test_a_run_outlives_trouble_within_an_epoch(
    first: int, trouble: Trouble, reason: str, disk: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = disk / "run"
    with ExitStack() as stack:
        outcome = trained_with(trouble, first, first + 2, run, monkeypatch, stack)
    assert (outcome.code, outcome.err) == (0, "")
    told = [line for line in outcome.out.splitlines() if line.startswith("warning: the checkpoint ")]
    # of two that were not, in one epoch
    assert told == [
        f"warning: the checkpoint within epoch {1 + (first > WITHIN)} is not written: {run / 'last.safetensors'} "
        f"cannot be written: {reason}; the run goes on, and the last checkpoint is whole"
    ]
    assert timeless(run) == timeless(whole)
    for path in whole.rglob("*.safetensors"):
        if path.name != "previous.safetensors":
            assert (run / path.relative_to(whole)).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(("trouble", "reason"), TROUBLES)
@pytest.mark.parametrize("first", [2, WITHIN + 1])
def test_trouble_that_stays_ends_the_run_after_its_epoch(
    first: int, trouble: Trouble, reason: str, disk: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = disk / "run"
    with ExitStack() as stack:
        outcome = trained_with(trouble, first, 1000, run, monkeypatch, stack)
        refused(outcome, str(run), f" cannot be written: {reason}")
        # going on is no better
        before = (run / "last.safetensors").read_bytes()
        refused(train("--resume", run), str(run), reason)
        assert (run / "last.safetensors").read_bytes() == before
    checkpoint.load(run / "last.safetensors")
    resumes_to(whole, run)
