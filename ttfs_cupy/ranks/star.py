"""The group of several processes: each has a connection to rank 0, and rank 0 one to each."""

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.common.shown import shown
from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.group import Wished
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.place import Place
from ttfs_cupy.ranks.watch import Watch

P = ParamSpec("P")
T = TypeVar("T")

# seconds between looks at whether a rank was lost; a loss also closes the connections
LOOK = 1.0


class CommonError(UserError):
    """A user's mistake that every rank finds alike, and at the same call: rank 0 tells it."""


class Star:
    """A Group. connections: by rank, of all others at rank 0, of rank 0 elsewhere; links: others, for a wire."""

    def __init__(
        self,
        place: Place,
        members: Sequence[Member],
        connections: Mapping[int, Connection],
        links: Mapping[int, Connection],
        watch: Watch,
    ):
        self.place, self.members, self.links, self.watch = place, members, links, watch
        self.rank, self.size = place.rank, place.size
        # what else ends with an orderly end of all ranks: MPI, where they have met by it
        self.finalize: Callable[[], None] = lambda: None
        # at rank 0 in the order of ranks, in which it sums
        self._connections = dict(sorted(connections.items()))
        renew_in_children(self)
        watch.on_loss(self._shut)

    def broadcast(self, value: Any = None) -> Any:
        if self.rank:
            return self._receive(0, "broadcast")
        for rank in self._connections:
            self._send(rank, "broadcast", value)
        return value

    def gather(self, value: Any) -> list[Any]:
        if self.rank:
            self._send(0, "gather", value)
            return list(self._receive(0, "gathered"))
        values = [value, *(self._receive(rank, "gather") for rank in self._connections)]
        for rank in self._connections:
            self._send(rank, "gathered", values)
        return values

    def sum(self, values: np.ndarray) -> np.ndarray:
        about = [values.dtype.str, list(values.shape)]
        if self.rank:
            self._send(0, "sum", about)
            self._transfer(0, messages.send_array, values)
            return self._transfer(0, messages.receive_array, values.dtype, values.shape)
        total = values.copy()
        for rank in self._connections:
            theirs = self._receive(rank, "sum")
            if theirs != about:
                raise RuntimeError(f"rank {rank} adds {theirs}, rank 0 {about}")
            total += self._transfer(rank, messages.receive_array, values.dtype, values.shape)
        for rank in self._connections:
            self._transfer(rank, messages.send_array, total)
        return total

    def broadcast_arrays(self, arrays: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        if self.rank:
            about = self._receive(0, "arrays")
            return {name: self._transfer(0, messages.receive_array, dtype, shape) for name, dtype, shape in about}
        own = {name: np.asarray(array) for name, array in (arrays or {}).items()}
        for rank in self._connections:
            self._send(rank, "arrays", [(name, array.dtype.str, array.shape) for name, array in own.items()])
            for array in own.values():
                self._transfer(rank, messages.send_array, array)
        return own

    def require_same(self, values: Mapping[str, Any]) -> None:
        of_all = self.gather(dict(values))
        first = of_all[0]
        for rank, theirs in enumerate(of_all):
            for key in [*first, *(key for key in theirs if key not in first)]:
                if theirs.get(key) != first.get(key):
                    raise CommonError(
                        f"{self.members[rank].named(rank)} has another {key} than {self.members[0].named(0)}: "
                        f"{shown(theirs.get(key))}, not {shown(first.get(key))}"
                    )

    def check(self) -> None:
        self.watch.check()

    def on_loss(self, callback: Callable[[], None]) -> None:
        self.watch.on_loss(callback)

    def fail(self, sentence: str) -> None:
        self.watch.fail(sentence)

    @property
    def interrupted_by(self) -> int:
        return self.watch.interrupted_by

    def wish(self, *, end: int = 0, save: bool = False) -> None:
        self.watch.wish(end=end, save=save)

    def take_wishes(self) -> Wished:
        return self.watch.take_wishes()

    def after_fork(self) -> None:
        """A child holds no connection: its parent would seem to live as long as it does."""
        for connection in [*self._connections.values(), *self.links.values()]:
            connection.close()

    def _send(self, rank: int, call: str, value: Any) -> None:
        self._transfer(rank, messages.send, [call, value])

    def _receive(self, rank: int, call: str) -> Any:
        message = self._transfer(rank, self._await)
        if not isinstance(message, list) or len(message) != 2 or message[0] != call:
            raise RuntimeError(f"rank {rank} is at another call than rank {self.rank}, which is at {call}")
        return message[1]

    def _await(self, connection: Connection) -> Any:
        while not connection.poll(LOOK):
            self.check()
        return messages.receive(connection)

    def _transfer(
        self, rank: int, transfer: Callable[Concatenate[Connection, P], T], *arguments: P.args, **options: P.kwargs
    ) -> T:
        """Raises LostRankError where the connection is closed, or a loss closes it meanwhile."""
        self.check()
        try:
            return transfer(self._connections[rank], *arguments, **options)
        except (OSError, EOFError):
            lost = self.watch.lost(rank)
        raise lost

    def _shut(self) -> None:
        """Ends what waits for a connection, in whichever thread."""
        for connection in self._connections.values():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
