"""A run's directory as ranks above 0 know it, and what they keep in it: nothing."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.ranks.group import Group


class RunElsewhere(RunDirectory):
    """Where rank 0 keeps the run, which may be out of this process's reach: it is named in messages, and neither read
    nor written here."""

    @property
    def has_checkpoint(self) -> bool:
        return False

    def claim(self) -> None:
        pass

    @contextmanager
    def claimed(self) -> Iterator[None]:
        yield

    def discard(self) -> None:
        pass

    def keep_log(self) -> None:
        pass

    def write_config(self, text: str) -> None:
        pass

    def write_split(self, fingerprint: Mapping[str, Any]) -> None:
        pass


def run_of(group: Group, find: Callable[[], RunDirectory]) -> RunDirectory:
    """What rank 0 finds, or claims; elsewhere its name alone."""
    if group.rank == 0:
        run = find()
        group.broadcast(str(run.path))
        return run
    return RunElsewhere(Path(group.broadcast()))


class NoMetrics(MetricsFile):
    """Lines that are kept in memory alone."""

    def append(self, **values: Any) -> Callable[[], None]:
        super().append(**values)
        return lambda: None

    @classmethod
    def of_epochs(cls, path: Path, epochs: int, step: int | None = None) -> MetricsFile:
        return cls(path)
