"""What the processes of a run tell one another: few and small things, on the host, apart from gradients."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place

if TYPE_CHECKING:
    # a run of one process needs none
    from multiprocessing.connection import Connection


class LostRankError(UserError):
    """Another process of the run has ended, or is out of reach; the message names it."""


@dataclass(frozen=True)
class Wished:
    """What signals at any rank have asked rank 0 for: to end the run (the signal's number; 0: none has), to save a
    checkpoint."""

    end: int = 0
    save: bool = False


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
        """The sum over the ranks, in their order, of int64 or float64 arrays of one shape: everywhere the same bits."""

    def broadcast_arrays(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Rank 0's arrays by name, at all ranks."""

    def require_same(self, values: Mapping[str, Any]) -> None:
        """Raises UserError, at all ranks, that names the first rank whose value is not rank 0's, and the key."""

    def check(self) -> None:
        """Waits for nothing. Raises LostRankError if a rank is known to be lost."""

    @property
    def interrupted_by(self) -> int:
        """The number of the signal that has ended another rank, if that is why it is lost; else 0."""

    def on_loss(self, callback: Callable[[], None]) -> None:
        """Has it called, by another thread, once a rank is lost (at once, if one is): it ends whatever waits outside of
        the group, such as a wire's calls (Wire.abort)."""

    def fail(self, sentence: str) -> None:
        """Says, from any thread, that this rank cannot go on, whatever it waits for: a loss, here and elsewhere. The
        first one counts. Waits for nothing."""

    def wish(self, *, end: int = 0, save: bool = False) -> None:
        """Asks rank 0 to end the run, because of that signal, or to save. From any thread; waits for nothing. A wish to
        end lasts."""

    def take_wishes(self) -> Wished:
        """What all ranks have asked for; a wish to save is taken once. For rank 0: elsewhere it is empty."""

    @property
    def links(self) -> Mapping[int, "Connection"]:
        """Connections for a wire's own use, by rank: rank 0 has one to each other rank, which have one to rank 0. Empty
        where ranks have met by MPI, and where a rank is alone."""

    @property
    def members(self) -> Sequence[Member]:
        """Who the ranks are, by rank: host and process."""


class Alone:
    """A run of one process: nothing is exchanged."""

    place = Place()
    rank, size = 0, 1
    interrupted_by = 0
    links: Mapping[int, "Connection"] = {}

    @property
    def members(self) -> Sequence[Member]:
        return [Member.here()]

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

    def on_loss(self, callback: Callable[[], None]) -> None:
        pass

    def fail(self, sentence: str) -> None:
        pass

    def wish(self, *, end: int = 0, save: bool = False) -> None:
        pass

    def take_wishes(self) -> Wished:
        return Wished()


ALONE = Alone()
