"""What a run goes on from: taken off the device in the run's thread, written in another one."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import also_called, make_folder
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.experiment.config.values import Keep
from ttfs_cupy.experiment.files import checkpoint, shared
from ttfs_cupy.experiment.files.progress import EpochLength, Progress, require_progress
from ttfs_cupy.experiment.files.run_directory import DISPENSABLE, RunDirectory
from ttfs_cupy.experiment.files.state import RunState, of_network
from ttfs_cupy.experiment.files.writer import Writer
from ttfs_cupy.ranks.group import ALONE, Group

logger = logging.getLogger("ttfs_cupy")

# characters of a reason, which may name a long path
MOST = 600


class Checkpoints:
    """Writes best.safetensors; writes and reads last.safetensors, previous.safetensors and the checkpoints to keep.

    A step waits for the copies alone. What cannot be written is raised by the next call, or by finish(); but where a
    checkpoint within an epoch cannot be, a warning says so, and the run goes on.

    group: the processes of the run, of which rank 0 has this, the others Unkept.
    """

    def __init__(self, run: RunDirectory, state: RunState, keep: Keep | None, group: Group = ALONE):
        self._run, self._state, self._keep, self._group = run, state, keep, group
        self._writer = Writer()
        self._newest_is_whole = True
        self._told_trouble_in = 0

    def begin(self, progress: Progress) -> None:
        """Of a run that begins: on disk when this returns."""
        self._writer.begin(self._last(progress))
        self.finish()

    def go_on(self, progress: Progress) -> None:
        """Of a run that was loaded: does what may not have been done after the checkpoint that it goes on from."""
        if progress.epochs and not progress.batches:
            self._keep_epoch(progress.epochs)

    def within_epoch(self, progress: Progress, place: str, *, is_asked: bool) -> None:
        """A convenience: the run does not depend on it. place: how far the run has come, for the log. is_asked: whether
        somebody waits for it; else what cannot be written is told once an epoch."""
        epoch = progress.epochs + 1
        tells_trouble = is_asked or self._told_trouble_in != epoch

        def trouble(error: UserError | MemoryError) -> None:
            self._told_trouble_in = epoch
            logger.log(
                logging.WARNING if tells_trouble else logging.DEBUG,
                "warning: the checkpoint within epoch %d is not written: %s; the run goes on, and the last checkpoint "
                "is whole",
                *(epoch, message_of(error, MOST)),
                extra=DISPENSABLE,
            )

        try:
            write = self._last(progress)
        except MemoryError as error:
            trouble(error)
            return

        def work() -> None:
            try:
                write()
            except (UserError, MemoryError) as error:
                trouble(error)
            else:
                logger.log(logging.INFO if is_asked else logging.DEBUG, "saved: %s", place, extra=DISPENSABLE)

        self._writer.begin(work)

    def after_epoch(
        self,
        progress: Progress,
        write_metrics: Callable[[], None],
        best: Callable[[], None] | None,
        told: Callable[[], None],
    ) -> None:
        """best: what best() gave, if the epoch is the best so far. told: called once all is on disk."""
        last, epoch = self._last(progress), progress.epochs

        def work() -> None:
            # first: where it cannot be written, the epoch has not been, and nothing says that it was
            if best is not None:
                best()
            write_metrics()
            last()
            self._keep_epoch(epoch)
            told()

        self._writer.begin(work)

    def best(self, epoch: int, *, of_average: bool) -> Callable[[], None]:
        """Takes the weights, or their average; returns what writes them to best.safetensors."""
        arrays, metadata = self._state.best(epoch, of_average=of_average)
        return lambda: checkpoint.save(self._run.best, arrays, metadata)

    def drop_best(self) -> None:
        """Removes best.safetensors, if there is one."""
        self._run.best.unlink(missing_ok=True)

    def finish(self) -> None:
        """Returns when all is on disk. Raises UserError where it cannot be."""
        self._writer.finish()

    def check(self) -> None:
        """Waits for nothing. Raises UserError where it is known already that something could not be written."""
        self._writer.check()

    def settle(self) -> None:
        """Returns when nothing is being written any more. What could not be is a warning: the run ends for another
        reason."""
        error = self._writer.settle()
        if error is not None:
            logger.warning("warning: %s", message_of(error, MOST), extra=DISPENSABLE)

    def load(self, length: EpochLength) -> Progress:
        """Takes the newest checkpoint that is whole, at all ranks; returns where the run stands.

        Raises UserError where there is none, or what there is does not belong to the run.
        """
        arrays, metadata, path = self._newest()
        shared.send(self._group, path, arrays, metadata)
        progress = self._state.take(path, arrays, metadata, length)
        # the next one takes the place of a damaged one, which is not to be kept in place of this one
        self._newest_is_whole = path == self._run.last
        return progress

    def _newest(self) -> tuple[dict[str, np.ndarray], dict[str, Any], Path]:
        run = self._run
        try:
            return (*_load(run.last), run.last)
        except UserError as error:
            if not run.previous.exists():
                raise
            found = _load(run.previous)
            logger.warning("warning: %s: the run goes on from the checkpoint before it, %s", error, run.previous)
            return (*found, run.previous)

    def _last(self, progress: Progress) -> Callable[[], None]:
        """Takes all that the run goes on from; returns what writes it."""
        arrays, metadata = self._state.arrays(), self._state.metadata(progress)

        def write() -> None:
            _require_finite(arrays, self._run)
            previous = self._run.previous if self._newest_is_whole else None
            checkpoint.save(self._run.last, arrays, metadata, previous)
            self._newest_is_whole = True

        return write

    def _keep_epoch(self, epoch: int) -> None:
        """Gives the newest checkpoint, of that epoch, its name among the kept ones, and removes those that are no
        longer."""
        run, keep = self._run, self._keep
        if keep is None:
            return
        try:
            if keep.keeps(epoch, epoch):
                make_folder(run.checkpoints)
                also_called(run.last if self._newest_is_whole else run.previous, run.kept(epoch))
            for earlier in run.kept_epochs:
                # later ones are of before the run went on from an earlier one
                if earlier > epoch or not keep.keeps(earlier, epoch):
                    run.kept(earlier).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"{run.kept(epoch)} cannot be written: {error.strerror or error}") from None


def _load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Raises UserError, as checkpoint.load does, also for a file that is none of a run's checkpoints."""
    arrays, metadata = checkpoint.load(path)
    require_progress(path, metadata)
    return arrays, metadata


def _require_finite(arrays: Mapping[str, np.ndarray], run: RunDirectory) -> None:
    """Raises UserError, so that a good checkpoint is not lost for one that nothing can go on from."""
    for name, array in of_network(arrays).items():
        if not np.isfinite(array).all():
            raise UserError(f"{run.last} is not written: the weights {name} are no longer finite")
