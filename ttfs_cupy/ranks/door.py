"""Rank 0's listener, to which all ranks come as a run begins, and how they come to it."""

import os
import resource
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import counted, listed, message_of, one_line, shown
from ttfs_cupy.common.version import __version__
from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.members import Member

# bytes of a greeting, and of the answer, which has a member for each rank
MOST_GREETING, MOST_ANSWER = 1 << 12, 64 << 20
# for each read of a stranger's greeting
SECONDS_TO_GREET = 5.0
# between two calls at a door at which nobody answers
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
# what comes of a greeting with somebody who is no rank of this run
STRANGE = (OSError, EOFError, AuthenticationError, AssertionError, LookupError, TypeError, ValueError, RuntimeError)


class RefusedError(UserError):
    """Rank 0 has refused this rank, or another one, and says so itself."""


@dataclass
class Guest:
    """A rank that has come: who it is, and its connections by kind."""

    member: Member
    connections: dict[str, Connection] = field(default_factory=dict)


class Door:
    """Listens until all ranks have come. host: an address of this machine, by name or number; empty: all of them.
    port 0: whichever is free. Raises OSError."""

    def __init__(self, host: str, port: int, key: bytes):
        self._key = key
        self._strangers = 0
        if host:
            self._listener = socket.create_server((host, port), family=_family(host), backlog=1024)
        elif socket.has_dualstack_ipv6():
            family = socket.AF_INET6
            self._listener = socket.create_server(("", port), family=family, backlog=1024, dualstack_ipv6=True)
        else:
            self._listener = socket.create_server(("", port), backlog=1024)
        self.port: int = self._listener.getsockname()[1]

    def close(self) -> None:
        self._listener.close()

    def admit(self, own: Member, size: int, kinds: Sequence[str], seconds: float) -> list[Guest]:
        """Waits until all other ranks have come, each with a connection of every kind. Raises UserError, which they are
        told, where one does not come or does not fit."""
        _make_room(size * len(kinds))
        guests: dict[int, Guest] = {}
        deadline = time.monotonic() + seconds
        try:
            while len(guests) < size - 1 or any(len(guest.connections) < len(kinds) for guest in guests.values()):
                connection = self._accept(deadline)
                if connection is None:
                    raise UserError(self._absent(guests, size, kinds, seconds))
                greeting = self._greeting(connection, kinds)
                if greeting is None:
                    self._strangers += 1
                    connection.close()
                    continue
                self._seat(guests, greeting, connection, own, size)
        except UserError as error:
            for guest in guests.values():
                for connection in guest.connections.values():
                    _tell(connection, {"refused": str(error)})
            raise
        members = [own, *(guests[rank].member for rank in range(1, size))]
        for guest in guests.values():
            _tell(guest.connections[kinds[0]], {"members": [astuple(member) for member in members]})
        return [guests[rank] for rank in range(1, size)]

    def _accept(self, deadline: float) -> Connection | None:
        self._listener.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            accepted, _ = self._listener.accept()
        except TimeoutError:
            return None
        if time.monotonic() > deadline:
            accepted.close()
            return None
        return _connection(accepted)

    def _greeting(self, connection: Connection, kinds: Sequence[str]) -> dict[str, Any] | None:
        """What a rank of this run says first; None of whoever is none."""
        try:
            deliver_challenge(connection, self._key)
            answer_challenge(connection, self._key)
            greeting = messages.receive(connection, MOST_GREETING)
            types = {"kind": str, "rank": int, "size": int, "version": str, "member": list}
            if any(type(greeting[key]) is not kind for key, kind in types.items()) or greeting["kind"] not in kinds:
                return None
            Member.of(greeting["member"])
        except STRANGE:
            return None
        _set_patience(connection, 0)
        return dict(greeting)

    def _seat(
        self, guests: dict[int, Guest], greeting: dict[str, Any], connection: Connection, own: Member, size: int
    ) -> None:
        """Raises UserError where a rank does not fit to the others, which it is told, too."""
        rank, member = greeting["rank"], Member.of(greeting["member"])
        first = guests.get(rank)
        # one that has called again
        guest = first if first is not None and first.member == member else Guest(member)
        guest.connections[greeting["kind"]] = connection
        name, own_name = member.named(rank), own.named(0)
        trouble = ""
        if greeting["version"] != __version__:
            theirs = one_line(greeting["version"], 40)
            trouble = f"{name} runs ttfs_cupy {theirs} and {own_name} {__version__}: install the same version"
        elif greeting["size"] != size:
            trouble = (
                f"{name} is one of {greeting['size']} ranks and {own_name} one of {size}: start all with one number"
            )
        elif not 0 < rank < size or (first is not None and first is not guest):
            other = own if first is None else first.member
            trouble = f"two processes are rank {rank}: {other.named(rank)} and {name}: number them from 0 up"
        if trouble:
            _tell(connection, {"refused": trouble})
            raise UserError(trouble)
        _tell(connection, {"seated": True})
        guests[rank] = guest

    def _absent(self, guests: dict[int, Guest], size: int, kinds: Sequence[str], seconds: float) -> str:
        come = {rank for rank, guest in guests.items() if len(guest.connections) == len(kinds)}
        absent = [str(rank) for rank in range(1, size) if rank not in come]
        strangers = f"; {counted(self._strangers, 'connection')} had not the run's key" if self._strangers else ""
        who = "1 rank has" if len(absent) == 1 else f"{len(absent)} ranks have"
        return (
            f"{who} not come to rank 0 within {seconds:g} s, at port {self.port} (of {size} ranks {listed(absent)})"
            f"{strangers}: look whether they run, with the same address and port of rank 0, and whether a firewall is "
            "in between"
        )


def come(
    addresses: Sequence[tuple[str, int]],
    key: bytes,
    greeting: dict[str, Any],
    kinds: Sequence[str],
    seconds: float,
) -> tuple[dict[str, Connection], list[Member]]:
    """This rank's connections to rank 0, by kind, and all ranks. addresses: of rank 0, tried in turn. Raises UserError
    where nobody answers there in time, and RefusedError."""
    deadline = time.monotonic() + seconds
    connections: dict[str, Connection] = {}
    for kind in kinds:
        connections[kind] = _called(addresses, key, {**greeting, "kind": kind}, deadline, seconds, connections)
    first = connections[kinds[0]]
    # rank 0 has begun to wait before, and says so when its own time is over
    if not first.poll(seconds + SECONDS_TO_GREET):
        raise UserError(f"rank {greeting['rank']} has come to rank 0, which has not answered within {seconds:g} s")
    answer = _answer(first, greeting["rank"])
    return connections, [Member.of(each) for each in answer["members"]]


def _answer(connection: Connection, rank: int) -> dict[str, Any]:
    """Rank 0's answer. Raises RefusedError, and UserError where it has ended."""
    try:
        answer = messages.receive(connection, MOST_ANSWER)
    except (OSError, EOFError):
        raise UserError(f"rank 0 has ended while rank {rank} waited for all to meet: its messages say why") from None
    if "refused" in answer:
        raise RefusedError(str(answer["refused"]))
    return dict(answer)


def _called(
    addresses: Sequence[tuple[str, int]],
    key: bytes,
    greeting: dict[str, Any],
    deadline: float,
    seconds: float,
    earlier: Mapping[str, Connection],
) -> Connection:
    """A connection to rank 0 that it has accepted. earlier: of the same rank, at which a refusal may have come."""
    pause = SHORTEST_PAUSE
    while True:
        for host, port in addresses:
            try:
                left = max(0.1, min(SECONDS_TO_GREET, deadline - time.monotonic()))
                connection = _connection(socket.create_connection((host, port), left))
            except OSError as error:
                trouble = reason_of(error)
                continue
            try:
                answer_challenge(connection, key)
                deliver_challenge(connection, key)
                messages.send(connection, greeting)
                answer = messages.receive(connection, MOST_ANSWER)
                if "refused" in answer:
                    raise RefusedError(str(answer["refused"]))
                _set_patience(connection, 0)
                return connection
            except RefusedError:
                raise
            except STRANGE:
                trouble = "what answers there is not rank 0 of this run"
                connection.close()
        for first in earlier.values():
            if first.poll(0):
                _answer(first, greeting["rank"])
        if time.monotonic() > deadline:
            where = listed([f"{host}:{port}" for host, port in addresses])
            raise UserError(
                f"rank {greeting['rank']} cannot reach rank 0 at {shown(where)} within {seconds:g} s ({trouble}): look "
                "whether rank 0 runs there, whether its address and port are the same for all ranks (MASTER_ADDR and "
                "MASTER_PORT, where torchrun's variables are set), and whether a firewall is in between"
            )
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def _connection(connected: socket.socket) -> Connection:
    """Of a socket, which it takes over. A stranger may say nothing: reads end after some seconds, until all is well."""
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection = Connection(connected.detach())
    _set_patience(connection, SECONDS_TO_GREET)
    return connection


def _set_patience(connection: Connection, seconds: float) -> None:
    """How long a read or write waits; 0: for ever."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            same.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", int(seconds), 0))


def reason_of(error: OSError) -> str:
    """Without what Python adds to it. Where a name is not known, errno is a negative one of the resolver's."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or message_of(error)


def _tell(connection: Connection, answer: dict[str, Any]) -> None:
    """To a rank that may have ended meanwhile: its pulse tells that, once all have met."""
    with suppress(OSError):
        messages.send(connection, answer)


def _family(host: str) -> socket.AddressFamily:
    """Raises OSError where no such address is known."""
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]


def _make_room(files: int) -> None:
    """As many connections as may be allowed: some systems begin with 1,024 files a process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
