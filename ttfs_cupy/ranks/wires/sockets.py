"""Gradients over sockets, between CPUs where there is no MPI."""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import BufferTooShort
from typing import NoReturn

import numpy as np

from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.wires.losses import raise_aborted, raise_lost
from ttfs_cupy.ranks.wires.sums import add

# What is sent as one message, and the most of another rank's gradients that rank 0 holds, in float32 values.
PIECE = 1 << 18


class SocketsWire:
    """Rank 0 adds what the others send, in the order of ranks, and sends the sum back. All bytes go through it, which a
    few ranks can bear; for many there is MPI.

    It takes the group's links, which nothing else uses, and closes them, as does every forked child, for whom they are
    not.
    """

    name = "sockets"

    def __init__(self, group: Group):
        self._group = group
        # by rank, and in the order of ranks
        self._links = dict(sorted(group.links.items()))
        # of the same connections: what a thread reads from is not to be closed, but it can be shut down
        self._sockets = [socket.socket(fileno=os.dup(link.fileno())) for link in self._links.values()]
        for each in self._sockets:
            if each.family != socket.AF_UNIX:
                # a message's last bytes must not wait for the receiver's word on those before
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._is_aborted = False
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
            for rank in self._links:
                other = self._piece[: piece.size]
                self._receive(rank, other)
                add(piece, other, piece)
        self._send(pieces)

    def _send(self, pieces: Sequence[np.ndarray]) -> None:
        for piece in pieces:
            for rank, link in self._links.items():
                try:
                    link.send_bytes(memoryview(piece).cast("B"))
                except OSError as error:
                    self._raise_lost(rank, error)

    def _receive(self, rank: int, piece: np.ndarray) -> None:
        """One message, of just so many bytes."""
        try:
            count = self._links[rank].recv_bytes_into(memoryview(piece).cast("B"))
        except BufferTooShort as error:
            count = len(error.args[0])
        except (EOFError, OSError) as error:
            self._raise_lost(rank, error)
        if count != piece.nbytes:
            raise RuntimeError(f"{self._name(rank)} sent {count} bytes of gradients, not {piece.nbytes}")

    def _name(self, rank: int) -> str:
        return self._group.members[rank].named(rank)

    def _raise_lost(self, rank: int, error: Exception) -> NoReturn:
        if self._is_aborted:
            raise_aborted(self._group)
        reason = str(error) or "it has closed its connection"
        raise_lost(self._group, f"{self._name(rank)} is out of reach ({reason})")

    def abort(self) -> None:
        self._is_aborted = True
        for each in self._sockets:
            # one that the other end has closed cannot be shut down
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        for each in self._sockets:
            each.close()

    def after_fork(self) -> None:
        self.close()
