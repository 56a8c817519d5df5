"""Gradients over sockets, between CPUs where there is no MPI."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import BufferTooShort
from multiprocessing.connection import Connection
from typing import NoReturn

import numpy as np

from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.wires.losses import raise_lost

# What is sent as one message, and the most of another rank's gradients that rank 0 holds, in float32 values.
PIECE = 1 << 18


class SocketsWire:
    """Rank 0 adds what the others send, in the order of ranks, and sends the sum back. All bytes go through it, which a
    few ranks can bear; for many there is MPI.

    connections: to the ranks 1, 2, ... at rank 0, and that to rank 0 at another one; nothing else uses them. The wire
    closes them, as does every forked child, for whom they are not.
    """

    name = "sockets"

    def __init__(self, group: Group, connections: Sequence[Connection]):
        self._group = group
        self._connections = list(connections)
        # to the same connections: what a thread reads from is not to be closed, but it can be shut down
        self._sockets = [socket.socket(fileno=os.dup(connection.fileno())) for connection in connections]
        for each in self._sockets:
            if each.family != socket.AF_UNIX:
                # a message's last bytes must not wait for the receiver's word on those before
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._piece = np.empty(PIECE, np.float32)
        renew_in_children(self)

    def all_reduce(self, array: np.ndarray) -> None:
        pieces = [array[first : first + PIECE] for first in range(0, array.size, PIECE)]
        if self._group.rank:
            self._send(pieces)
            for piece in pieces:
                self._receive(0, piece)
            return
        for piece in pieces:
            for number in range(len(self._connections)):
                other = self._piece[: piece.size]
                self._receive(number, other)
                np.add(piece, other, out=piece)
        self._send(pieces)

    def _send(self, pieces: Sequence[np.ndarray]) -> None:
        for piece in pieces:
            for number, connection in enumerate(self._connections):
                try:
                    connection.send_bytes(memoryview(piece).cast("B"))
                except OSError as error:
                    self._raise_lost(number, error)

    def _receive(self, number: int, piece: np.ndarray) -> None:
        """One message, of just so many bytes."""
        try:
            count = self._connections[number].recv_bytes_into(memoryview(piece).cast("B"))
        except BufferTooShort as error:
            count = len(error.args[0])
        except (EOFError, OSError) as error:
            self._raise_lost(number, error)
        if count != piece.nbytes:
            raise RuntimeError(f"rank {self._rank(number)} sent {count} bytes of gradients, not {piece.nbytes}")

    def _rank(self, number: int) -> int:
        return 0 if self._group.rank else number + 1

    def _raise_lost(self, number: int, error: Exception) -> NoReturn:
        reason = str(error) or "it has closed its connection"
        raise_lost(self._group, f"rank {self._rank(number)} is out of reach ({reason})")

    def abort(self) -> None:
        for each in self._sockets:
            # one that the other end has closed cannot be shut down
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for each in self._sockets:
            each.close()

    def after_fork(self) -> None:
        self.close()
