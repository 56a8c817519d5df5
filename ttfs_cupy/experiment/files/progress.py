"""Where a run stands, also within an epoch, and whether what a file says of it can be true."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from ttfs_cupy.common.checks import check_count, check_number, is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.engine.optimizer import StepCounts
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.run_directory import RunDirectory


class EpochLength(NamedTuple):
    """How many batches an epoch has, and of how many a step of the optimiser is; the last step may be of fewer."""

    batches: int
    accumulate: int = 1

    @property
    def steps(self) -> int:
        return self.steps_after(self.batches)

    def steps_after(self, batches: int) -> int:
        """Steps that are over after so many batches of an epoch, of which the last one ended a step."""
        return -(-batches // self.accumulate)


@dataclass
class Progress:
    """Counts since the start; best_accuracy is -1 before there is one. Of the epoch that has begun: batches that are
    over, CrossEntropy.sums() after them, and the seconds that they took.

    ranks: of how many processes the run was. parts: what each of several had of sums, by rank.
    """

    epochs: int = 0
    step: int = 0
    best_epoch: int = 0
    best_accuracy: float = -1.0
    epochs_without_improvement: int = 0
    skipped: int = 0
    clipped: int = 0
    batches: int = 0
    sums: list[float] | None = None
    seconds: float = 0.0
    ranks: int = 1
    parts: list[list[float]] | None = None

    @classmethod
    def from_metadata(cls, metadata: object, length: EpochLength) -> "Progress":
        """What a file's metadata say. Raises ValueError, naming what is wrong, unless they agree."""
        if not isinstance(metadata, dict):
            raise ValueError(f"its progress is {shown(metadata)}, not keys and values")
        unknown = set(metadata) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"its progress has a key {shown(min(unknown))}, which means nothing here")
        progress = cls(**metadata)
        for field in fields(cls):
            about, value = f"its {field.name}", getattr(progress, field.name)
            if field.name == "sums":
                _check_sums(value)
            elif field.name == "parts":
                for part in _checked_parts(value):
                    _check_sums(part)
            elif field.name == "seconds":
                check_number(about, value, 0, 1e12)
            elif field.type in (float, "float"):
                check_number(about, value, -1, 1)
            else:
                check_count(about, value, least=0, most=2**53)
        progress._check(length)
        return progress

    def to_metadata(self) -> dict[str, Any]:
        """For from_metadata(), by way of JSON. What a run of one process does not need is not there."""
        found = asdict(self)
        of_several = {"ranks": self.ranks != 1, "parts": self.parts is not None}
        return {key: value for key, value in found.items() if of_several.get(key, True)}

    def begin_epoch(self) -> None:
        """After an epoch that is over."""
        self.batches, self.sums, self.parts, self.seconds = 0, None, None, 0.0

    def sums_of(self, rank: int, ranks: int) -> list[float]:
        """What a rank of so many goes on with in the epoch that has begun: with what it had, if the run was of as many;
        else rank 0 has it all."""
        assert self.sums is not None
        if self.parts is not None and len(self.parts) == ranks:
            return self.parts[rank]
        return self.sums if rank == 0 else [0.0] * len(self.sums)

    def described(self, length: EpochLength) -> str:
        """A part of a sentence: how far the run has come."""
        if not self.batches:
            return f"after epoch {self.epochs}" if self.epochs else "at the start"
        return f"in epoch {self.epochs + 1}, after batch {self.batches} of {length.batches}"

    def check_counts(self, counts: StepCounts) -> None:
        """ValueError unless an optimiser that has counted so has taken these steps."""
        if min(counts.applied, counts.skipped, counts.clipped) < 0 or counts.applied + counts.skipped != self.step:
            raise ValueError(
                f"its optimiser counts {counts.applied} steps and {counts.skipped} skipped ones after step {self.step}"
            )
        if not 0 <= counts.in_a_row <= counts.longest_row <= counts.skipped:
            raise ValueError(
                f"its optimiser counts {counts.in_a_row} steps skipped in a row, {counts.longest_row} at most, and "
                f"{counts.skipped} in all"
            )

    def _check(self, length: EpochLength) -> None:
        if self.batches > length.batches:
            raise ValueError(f"it is at batch {self.batches} of an epoch, which has {length.batches} here")
        if self.batches % length.accumulate and self.batches != length.batches:
            raise ValueError(f"it is at batch {self.batches}, amid the {length.accumulate} of a step")
        if (self.sums is None) != (not self.batches):
            raise ValueError(f"its sums are {shown(self.sums)} after {self.batches} batches of an epoch")
        if self.ranks < 1 or (self.parts is not None and (self.sums is None or len(self.parts) != self.ranks)):
            raise ValueError(f"its ranks are {self.ranks}, and its parts {shown(self.parts)}")
        if self.step != self.epochs * length.steps + length.steps_after(self.batches):
            over = f"{self.epochs} epochs" + (f" and {self.batches} batches" if self.batches else "")
            raise ValueError(f"it is at step {self.step} after {over}, which have {length.steps} steps each here")
        for name, most in (
            ("best_epoch", self.epochs),
            ("epochs_without_improvement", self.epochs),
            ("skipped", self.step),
            ("clipped", self.step),
        ):
            if getattr(self, name) > most:
                raise ValueError(f"its {name} is {getattr(self, name)}, and can be {most} at most")


def require_progress(path: Path, metadata: Mapping[str, Any]) -> Any:
    """What a checkpoint's metadata say of the progress. Raises UserError where they say nothing of it.

    Where the header's key of our metadata is damaged, they are gone, and with them the digest that would tell.
    """
    if "progress" not in metadata:
        raise UserError(f"weights '{path}' cannot be used: they do not say how far the run has come")
    return metadata["progress"]


def saved(run: RunDirectory) -> Any:
    """What the newest checkpoint that can be read says of its progress. Raises UserError if there is none."""
    try:
        return require_progress(run.last, checkpoint.metadata(run.last))
    except UserError:
        if not run.previous.exists():
            raise
        return require_progress(run.previous, checkpoint.metadata(run.previous))


def has_steps(run: RunDirectory) -> bool:
    """Whether there is a checkpoint of more than the beginning."""
    progress = saved(run) if run.has_checkpoint else None
    return isinstance(progress, dict) and progress.get("step") != 0


def _checked_parts(value: Any) -> list[Any]:
    """A list, empty for None. Raises ValueError for anything else, and for a part that is none."""
    parts = [] if value is None else value
    if not isinstance(parts, list) or None in parts:
        raise ValueError(f"its parts are {shown(value)}, not a list of numbers for each rank")
    return parts


def _check_sums(value: Any) -> None:
    """None, or finite numbers from 0."""
    if value is None:
        return
    is_list = isinstance(value, list) and all(is_number(number) for number in value)
    if not is_list or not all(math.isfinite(number) and number >= 0 for number in value):
        raise ValueError(f"its sums are {shown(value)}, not numbers from 0")
