"""Where the ranks of a stand-in's communicator meet: brings their calls together, compares them, and adds up."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any

import numpy as np

ID_BYTES = 128
_HOST = "127.0.0.1"
_KEY_BYTES = 32


@dataclass(frozen=True)
class Call:
    """What has to be the same at all ranks. place: of the buffer, in bytes behind its allocation's first; recorded:
    which of the communicator's calls in graphs, from 1, None for one that is in none."""

    name: str
    count: int
    datatype: int
    op: int
    place: int
    recorded: int | None

    def __str__(self) -> str:
        how = "launched" if self.recorded is None else f"in a graph, recorded as number {self.recorded}"
        return f"{self.name} of {self.count} of type {self.datatype}, op {self.op}, at byte {self.place}, {how}"


class Line:
    """A rank's connection to the hub of its communicator. gpu: host, bus and number there."""

    def __init__(self, unique_id: bytes, ranks: int, rank: int, gpu: tuple[str, str, int]):
        (port,) = struct.unpack_from("<I", unique_id)
        self._rank, self._cut = rank, False
        self._connection: Connection = Client((_HOST, port), authkey=unique_id[4 : 4 + _KEY_BYTES])
        self._connection.send((rank, ranks, gpu))
        self._answer()

    def exchange(self, number: int, call: Call, values: np.ndarray) -> np.ndarray | None:
        """The sum of all ranks' values of the call of that number; None once the line is cut.

        Raises AssertionError that names what differs between ranks.
        """
        try:
            self._connection.send((number, call, values))
            total: np.ndarray = self._answer()
            return total
        except (EOFError, OSError):
            if self._cut:
                return None
            raise

    def _answer(self) -> Any:
        trouble, answer = self._connection.recv()
        assert trouble is None, trouble
        return answer

    def cut(self) -> None:
        """Ends a call that is under way in another thread."""
        self._cut = True
        with suppress(OSError), socket.socket(fileno=os.dup(self._connection.fileno())) as plain:
            plain.shutdown(socket.SHUT_RDWR)

    def leave(self) -> None:
        self._connection.send(None)
        self._connection.close()


def new_hub() -> bytes:
    """A unique id, whose hub listens in this process."""
    key = secrets.token_bytes(_KEY_BYTES)
    listener = Listener((_HOST, 0), authkey=key)
    threading.Thread(target=_Hub(listener).serve, daemon=True).start()
    return (struct.pack("<I", listener.address[1]) + key).ljust(ID_BYTES, b"\0")  # type: ignore[misc]


class _Hub:
    def __init__(self, listener: Listener):
        self._listener = listener
        self._ranks: dict[Connection, int] = {}
        self._open: set[Connection] = set()
        self._calls: dict[int, tuple[int, Call, np.ndarray]] = {}
        self._left: dict[int, int] = {}
        self._done = 0

    def serve(self) -> None:
        with self._listener:
            trouble = self._meet()
        for connection in self._ranks:
            connection.send((trouble, None))
        self._open = set(self._ranks) if trouble is None else set()
        while self._open:
            for connection in wait(list(self._open)):
                self._hear(connection)  # type: ignore[arg-type]
            self._settle()

    def _meet(self) -> str | None:
        """All ranks are there, or one that has no place."""
        size, gpus = None, {}
        while size is None or len(self._ranks) < size:
            connection = self._listener.accept()
            rank, ranks, gpu = connection.recv()
            taken = set(self._ranks.values())
            self._ranks[connection] = rank
            size = size or ranks
            if ranks != size or rank in taken or not 0 <= rank < size:
                return f"rank {rank} of {ranks} has no place among {size} ranks, of which {sorted(taken)} are there"
            if gpus.setdefault(gpu, rank) != rank:
                return f"ranks {gpus[gpu]} and {rank} have one GPU, {gpu}"
        return None

    def _hear(self, connection: Connection) -> None:
        rank = self._ranks[connection]
        try:
            heard = connection.recv()
        except (EOFError, OSError):
            # died, or has aborted: whoever waits for it waits on
            self._open.discard(connection)
            self._calls.pop(rank, None)
            return
        if heard is None:
            self._left[rank] = self._done
            self._open.discard(connection)
        else:
            self._calls[rank] = heard

    def _settle(self) -> None:
        if len(self._calls) == len(self._ranks):
            trouble, total = self._compared(), None
            if trouble is None:
                values = [self._calls[rank][2] for rank in range(len(self._ranks))]
                total = values[0].copy()
                for each in values[1:]:
                    total += each
            self._done += 1
            self._reply(trouble, total)
        elif self._calls and self._left:
            rank, number = next(iter(self._left.items()))
            waiting, (_, call, _) = next(iter(self._calls.items()))
            self._reply(f"rank {rank} has left after {number} calls, and rank {waiting} waits in {call}", None)

    def _compared(self) -> str | None:
        number, first, _ = self._calls[0]
        for rank, (other, call, values) in sorted(self._calls.items()):
            if (other, call) != (number, first) or len(values) != call.count:
                return f"call {number} of rank 0 is {first}, call {other} of rank {rank} is {call}"
        return None

    def _reply(self, trouble: str | None, total: np.ndarray | None) -> None:
        ranks = {rank: connection for connection, rank in self._ranks.items()}
        for rank in self._calls:
            with suppress(OSError):
                ranks[rank].send((trouble, total))
        self._calls = {}
