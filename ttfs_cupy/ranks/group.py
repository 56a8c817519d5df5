"""What the processes of a run tell one another: few and small things, on the host, apart from gradients."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks.place import Place


class LostRankError(UserError):
    """Another process of the run has ended, or is out of reach; the message names it."""


class Group(Protocol):
    """All processes of a run. Every rank makes the same calls in the same order, from one thread; each waits for the
    others, and raises LostRankError once one of them is lost.

    Values are what JSON holds.
    """

    @property
    def place(self) -> Place: ...
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...

    def broadcast(self, value: Any = None) -> Any:
        """Rank 0's value, at all ranks; what others give does not count. Rank 0 does not wait."""

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, by rank, at all ranks."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over the ranks, in their order, of int64 or float64 arrays of one shape: the same bits at all ranks."""

    def broadcast_arrays(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Rank 0's arrays by name, at all ranks."""

    def require_same(self, values: Mapping[str, Any]) -> None:
        """Raises UserError, at all ranks, that names the first rank whose value is not rank 0's, and the key."""

    def check(self) -> None:
        """Waits for nothing. Raises LostRankError if a rank is known to be lost."""


class Alone:
    """A run of one process: nothing is exchanged."""

    place = Place()
    rank, size = 0, 1

    def broadcast(self, value: Any = None) -> Any:
        return value

    def gather(self, value: Any) -> list[Any]:
        return [value]

    def sum(self, values: np.ndarray) -> np.ndarray:
        return values

    def broadcast_arrays(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        return dict(arrays or {})

    def require_same(self, values: Mapping[str, Any]) -> None:
        pass

    def check(self) -> None:
        pass


ALONE = Alone()
