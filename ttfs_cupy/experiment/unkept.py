"""What ranks above 0 have in place of checkpoints."""

from collections.abc import Callable
from typing import Any

from ttfs_cupy.experiment.files import shared
from ttfs_cupy.experiment.files.progress import EpochLength, Progress
from ttfs_cupy.experiment.files.state import RunState
from ttfs_cupy.ranks.group import Group


class Unkept:
    """Stands for Checkpoints where rank 0 writes them: takes what rank 0 has read, and keeps nothing."""

    def __init__(self, state: RunState, group: Group):
        self._state, self._group = state, group

    def load(self, length: EpochLength) -> Progress:
        """As Checkpoints.load, of what rank 0 has read."""
        path, arrays, metadata = shared.received(self._group)
        return self._state.take(path, arrays, metadata, length)

    def best(self, epoch: int, *, of_average: bool) -> Callable[[], None]:
        return lambda: None

    def drop_best(self) -> None:
        pass

    def begin(self, progress: Progress) -> None:
        pass

    def go_on(self, progress: Progress) -> None:
        pass

    def within_epoch(self, progress: Progress, place: str, *, is_asked: bool) -> None:
        pass

    def after_epoch(self, *_: Any) -> None:
        pass

    def check(self) -> None:
        pass

    def finish(self) -> None:
        pass

    def settle(self) -> None:
        pass
