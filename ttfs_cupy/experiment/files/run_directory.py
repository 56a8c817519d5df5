"""A run's directory: config.yaml, split.json, metrics.jsonl and .csv, log.txt, weights, and checkpoints."""

import json
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ttfs_cupy.common.command.typed_command import typed
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.folder_lock import FolderLock, InUseError
from ttfs_cupy.common.files.json_text import keys_and_values
from ttfs_cupy.common.files.reading import path_trouble, read_own, reason
from ttfs_cupy.common.files.writing import clear_temporaries, write_atomically
from ttfs_cupy.common.shown import listed, shown

logger = logging.getLogger("ttfs_cupy")


# Of a run that has weights of its own: those that it began with may be gone by now.
OWN_WEIGHTS = "network.initial_weights=null"

# bytes of split.json, which has some 300
LARGEST_SPLIT = 1 << 16

# Of runs that their users do not name
MOST_NAMES = 10_000

_KEPT = re.compile(r"epoch-([0-9]{4,10})\.safetensors")

# For logger(extra=...): where such a message cannot be written to log.txt, the run goes on.
DISPENSABLE = {"is_dispensable": True}

_OTHER_OUTPUT = "name another folder with --output"


class TakenError(UserError):
    """A run is there, or another process is at work there, or it is somebody else's."""


@dataclass(frozen=True)
class RunDirectory:
    """Where a run keeps what it writes, by name. RunDirectory(path) itself neither makes nor reads anything.

    Whoever writes has claimed it, and nobody else can, until the work is done (`claimed`, `discard`, `release`), or the
    process ends, however it ends. Reading needs no claim.
    """

    path: Path
    _lock: FolderLock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # whatever a killed process left half-written is removed before anybody writes
        object.__setattr__(self, "_lock", FolderLock(self.path, self._tidy))

    @classmethod
    def create(cls, path: Path, config_text: str) -> "RunDirectory":
        """A new run's directory with its config, claimed.

        Raises UserError if a run is there, or is at work there, or it cannot be written.
        """
        run = cls.claim_new(path)
        try:
            run.write_config(config_text)
        except BaseException:
            run.discard()
            raise
        return run

    @classmethod
    def claim_new(cls, path: Path) -> "RunDirectory":
        """A new run's directory, claimed, with nothing of a run in it. Raises UserError as `create` does.

        It goes again, unless something is written there.
        """
        run = cls(path)
        # before it is locked, even for a moment: whoever goes on with that run is not to be refused it
        run._refuse_another(run.owner())
        try:
            run._lock.take(make_folder=True)
        except InUseError as error:
            raise TakenError(f"{error}: {_OTHER_OUTPUT}") from None
        except (OSError, ValueError) as error:
            raise run._no_output(error) from None
        try:
            # of somebody who was a little earlier
            run._refuse_another()
        except UserError:
            run.release()
            raise
        return run

    @classmethod
    def claim_unused(cls, base: Path) -> "RunDirectory":
        """The first of base, base-2, base-3, ... in which there is no run, and none of somebody else's, as by
        `claim_new`. Raises UserError if none can be had."""
        for path in chain([base], (base.with_name(f"{base.name}-{number}") for number in range(2, MOST_NAMES + 1))):
            with suppress(TakenError):
                return cls.claim_new(path)
        raise UserError(f"'{base}' and those after it, to '{path}', are taken: {_OTHER_OUTPUT}")

    @classmethod
    def existing(cls, path: Path) -> "RunDirectory":
        """The run in that directory. Raises UserError if there is none."""
        run = cls(path)
        if not _any_exists((run.config,)):
            if path.is_file():
                named = f", '{path.parent}'" if _any_exists((cls(path.parent).config,)) else ""
                raise UserError(f"'{path}' is a file: name the run's directory{named}")
            raise UserError(f"'{path}' holds no run: there is no config.yaml in it")
        return run

    def claim(self) -> None:
        """Keeps other processes from writing there, and removes what a killed one left half-written.

        Raises UserError, which names the process, if one is at work there.
        """
        with self._refusals():
            self._lock.take()

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Claims it, and releases it at the end of the outermost such block. Raises UserError as `claim` does, also
        while another thread is in such a block."""
        with ExitStack() as work:
            with self._refusals():
                work.enter_context(self._lock.at_work())
            yield

    def release(self) -> None:
        """Lets others write there. A directory that was made for this run goes, if it is empty."""
        self._lock.release()

    @property
    def config(self) -> Path:
        """Every key as resolved."""
        return self.path / "config.yaml"

    @property
    def split(self) -> Path:
        """What tells the run's data, and the images that it held out, from others."""
        return self.path / "split.json"

    @property
    def metrics(self) -> Path:
        """A line of JSON an epoch, and one of the test set."""
        return self.path / "metrics.jsonl"

    @property
    def table(self) -> Path:
        """The same as a table, for spreadsheets and pandas."""
        return self.path / "metrics.csv"

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
        """The newest checkpoint: all that `--resume` goes on from."""
        return self.path / "last.safetensors"

    @property
    def previous(self) -> Path:
        """The checkpoint before that one, should it be damaged."""
        return self.path / "previous.safetensors"

    @property
    def checkpoints(self) -> Path:
        """A folder: those that training.keep asks for."""
        return self.path / "checkpoints"

    @property
    def loggers(self) -> Path:
        """A folder: what loggers write that the config asks for (experiment/watching/loggers/)."""
        return self.path / "loggers"

    def kept(self, epoch: int) -> Path:
        """The checkpoint after that epoch."""
        return self.checkpoints / f"epoch-{epoch:04}.safetensors"

    @property
    def kept_epochs(self) -> list[int]:
        """Those whose checkpoints are kept, in ascending order."""
        names = (_KEPT.fullmatch(path.name) for path in self.checkpoints.glob("epoch-*"))
        return sorted(int(name[1]) for name in names if name)

    @property
    def files(self) -> tuple[Path, ...]:
        """All that a run may write, but for kept checkpoints, and for what loggers write."""
        weights = (self.best, self.last, self.previous)
        return self.config, self.split, self.metrics, self.table, self.log, *weights

    def owns(self, file: Path) -> bool:
        """Whether that is the name of something that a run keeps here: of `files`, a kept checkpoint, or what a logger
        wrote. It need not be there."""
        folder, checkpoints, loggers = (path.resolve() for path in (self.path, self.checkpoints, self.loggers))
        # as a link, and as what it leads to
        for path in (file.parent.resolve() / file.name, file.resolve()):
            is_kept = path.parent in (folder, checkpoints) and _KEPT.fullmatch(path.name) is not None
            is_plain = path.parent == folder and path.name in {own.name for own in self.files}
            if is_kept or is_plain or loggers in path.parents:
                return True
        return False

    @property
    def resume_command(self) -> str:
        """What goes on with the run, as a user types it."""
        return typed("train", "--resume", self.path)

    @property
    def has_begun(self) -> bool:
        """Whether there is more of it than its config and a log: what was killed before may begin anew."""
        return _any_exists((self.metrics, self.best, self.last, self.previous))

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is what `--resume` could go on from."""
        return _any_exists((self.last, self.previous))

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except InUseError as error:
            raise TakenError(f"{error}: let it end, or interrupt it, first") from None
        except OSError as error:
            raise UserError(f"the run directory '{self.path}' cannot be written: {error.strerror}") from None

    def _refuse_another(self, owner: str | None = None) -> None:
        """Raises TakenError if a run is there. owner: the process that writes there."""
        try:
            is_there = any(file.exists() for file in (*self.files, self.loggers))
        except OSError as error:
            raise self._no_output(error) from None
        if is_there:
            whose, when = (f", of {owner}", ", once that has ended,") if owner else ("", "")
            raise TakenError(
                f"'{self.path}' already holds a run{whose}: {_OTHER_OUTPUT}, or{when} go on with --resume "
                f"{shlex.quote(str(self.path))}"
            )

    def _no_output(self, error: OSError | ValueError) -> UserError:
        if isinstance(error, ValueError):
            why = f"its name {path_trouble(self.path)}"
        else:
            why = f"{error.filename} is no directory" if isinstance(error, FileExistsError) else reason(error)
        # what is there, and not for us to write in, is somebody else's
        kind = TakenError if os.path.lexists(self.path) else UserError
        return kind(f"the output directory '{self.path}' cannot be made or written: {why}")

    def owner(self) -> str | None:
        """The process that writes there: process 12 on host; None if there is none."""
        return self._lock.owner()

    def write_config(self, text: str) -> None:
        """Every key as resolved, once the device has had its say. Raises UserError if it cannot be written."""
        write_atomically(self.config, text.encode())

    def write_split(self, fingerprint: Mapping[str, Any]) -> None:
        """Of the data that the run is made with. Raises UserError if it cannot be written."""
        write_atomically(self.split, (json.dumps(dict(fingerprint)) + "\n").encode())

    def check_split(self, fingerprint: Mapping[str, Any]) -> bool:
        """Whether the run says what data it was made with; earlier versions' runs do not.

        Raises UserError unless it is these, and the same images were held out.
        """
        told = self.read_split()
        if told is None:
            return False
        if "subset" in {*told} ^ {*fingerprint}:
            which = "a part of its training images" if "subset" in told else "all its training images"
            raise UserError(f"the run in '{self.path}' used {which} (data.subset), which would be otherwise now")
        if set(told) != set(fingerprint):
            raise UserError(f"'{self.split}' is not the file that ttfs-train wrote: it must hold {listed(fingerprint)}")
        for key, images in (("training_images", "training"), ("test_images", "test")):
            if told[key] != fingerprint[key]:
                counts = f"of {shown(told[key])} {images} images, and there are {fingerprint[key]} now"
                raise UserError(f"the run in '{self.path}' was made with other data: {counts}")
        if told["labels"] != fingerprint["labels"]:
            raise UserError(f"the run in '{self.path}' was made with other data: their labels were others")
        if told["pixels"] != fingerprint["pixels"]:
            raise UserError(
                f"the run in '{self.path}' was made with other images, or with these in another order, or decoded "
                f"otherwise (without {self.split.name} it could still be evaluated, but never go on)"
            )
        if told.get("subset") != fingerprint.get("subset"):
            raise UserError(
                f"the run in '{self.path}' used other training images than would be now: data.subset, its file or the "
                "seed is another"
            )
        if told["held_out"] != fingerprint["held_out"]:
            raise UserError(
                f"the run in '{self.path}' held out other images for validation than would be now: data.validation, "
                "its file or the seed is another"
            )
        return True

    def read_split(self) -> dict[str, Any] | None:
        """What the run says of its data; earlier versions' runs say nothing. Raises UserError if it cannot be read."""
        try:
            content = read_own(self.split, f"'{self.split}'", LARGEST_SPLIT)
        except FileNotFoundError:
            return None
        return keys_and_values(content.decode("utf-8", "replace"), f"'{self.split}' cannot be read: it is")

    def discard(self) -> None:
        """Removes the run's files, and the directory if it was made for this run and nothing else is in it.

        Raises UserError as `claim` does.
        """
        if self.path.is_dir():
            with self.claimed():
                for file in (*self.files, *map(self.kept, self.kept_epochs)):
                    file.unlink(missing_ok=True)
                shutil.rmtree(self.loggers, ignore_errors=True)
                if self.checkpoints.is_dir():
                    with suppress(OSError):
                        self.checkpoints.rmdir()
        self.release()

    def _tidy(self) -> None:
        """Removes what a killed process left half-written."""
        clear_temporaries(self.files)
        # named as `also_called` does
        for left in self.checkpoints.glob(".epoch-*.safetensors-????????"):
            with suppress(OSError):
                left.unlink()

    def keep_log(self) -> None:
        """Sends the log to log.txt too, with times; the console gets the messages alone. Raises UserError."""
        # to open one would wait for a reader
        if self.log.is_fifo():
            raise UserError(f"{self.log} is a pipe, not a file")
        try:
            handler = _LogFile(self.log, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise UserError(f"{self.log} cannot be written: {error.strerror}") from None
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)


def _any_exists(files: Iterable[Path]) -> bool:
    try:
        return any(file.exists() for file in files)
    except OSError as error:
        raise UserError(f"'{error.filename}' is out of reach: {error.strerror}") from None


class _LogFile(logging.FileHandler):
    """Where logging would print a traceback and go on, as on a full disk, this one ends the run with a sentence."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if getattr(record, "is_dispensable", False):
            return
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{self.baseFilename} cannot be written: {reason}") from None

    def close(self) -> None:
        # what could not be written then will not be now
        with suppress(OSError):
            super().close()
