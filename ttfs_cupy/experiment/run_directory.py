"""A run's directory: config.yaml, metrics.jsonl, log.txt, best.safetensors, last.safetensors."""

import logging
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import write_atomically

logger = logging.getLogger("ttfs_cupy")


# Of a run that has weights of its own: those that it began with may be gone by now.
OWN_WEIGHTS = "network.initial_weights=null"


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps what it writes, by name. RunDirectory(path) itself neither makes nor reads anything."""

    path: Path

    @classmethod
    def create(cls, path: Path, config_text: str) -> "RunDirectory":
        """A new run's directory with its config. Raises UserError if a run is there, or it cannot be written."""
        run = cls(path)
        if _any_exists(run.files):
            raise UserError(
                f"'{path}' already holds a run: name another folder with --output, or go on with --resume {path}"
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the output directory '{path}' cannot be made: {error.strerror}") from None
        try:
            write_atomically(run.config, config_text.encode())
        except UserError:
            run.discard()
            raise
        return run

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """The run in that directory. Raises UserError if there is none."""
        run = cls(path)
        if not _any_exists((run.config,)):
            raise UserError(f"'{path}' holds no run: there is no config.yaml in it")
        return run

    @property
    def config(self) -> Path:
        """Every key as resolved."""
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        """A line of JSON an epoch, and one of the test set."""
        return self.path / "metrics.jsonl"

    @property
    def log(self) -> Path:
        """What the console showed, with times."""
        return self.path / "log.txt"

    @property
    def best(self) -> Path:
        """The weights of the best epoch by validation accuracy."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """All that `--resume` goes on from."""
        return self.path / "last.safetensors"

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a run may write."""
        return self.config, self.metrics, self.log, self.best, self.last

    def discard(self) -> None:
        """Removes the run's files, and its directory unless there are others in it."""
        for file in self.files:
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()

    def keep_log(self) -> None:
        """Sends the log to log.txt too, with times; the console gets the messages alone."""
        try:
            handler = _LogFile(self.log, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.log} cannot be written: {error.strerror}") from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)


def unused(base: Path) -> Path:
    """base, or base-2, base-3, ...: the first in which there is no run."""
    number, path = 1, base
    while _any_exists(RunDirectory(path).files):
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    return path


def _any_exists(files: Iterable[Path]) -> bool:
    try:
        return any(file.exists() for file in files)
    except OSError as error:
        raise UserError(f"'{error.filename}' is out of reach: {error.strerror}") from None


class _LogFile(logging.FileHandler):
    """Where logging would print a traceback and go on, as on a full disk, this one ends the run with a sentence."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{self.baseFilename} cannot be written: {reason}") from None

    def close(self) -> None:
        # what could not be written then will not be now
        with suppress(OSError):
            super().close()
