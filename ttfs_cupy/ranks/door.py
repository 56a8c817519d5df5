"""Rank 0's listener, to which all ranks come as a run begins, and how they come to it."""

import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass, field
from multiprocessing import AuthenticationError, Pipe
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from queue import SimpleQueue
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import counted, listed, message_of, one_line, shown
from ttfs_cupy.common.version import __version__
from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.members import Member

# bytes of a greeting, and of the answer, which has a member for each rank
MOST_GREETING, MOST_ANSWER = 1 << 12, 64 << 20
# in which a stranger has greeted, in all; how many may be at it at once, and others wait
SECONDS_TO_GREET, MOST_AT_ONCE = 5.0, 128
# in which rank 0 answers, which may have a thousand others to greet
SECONDS_TO_ANSWER = 15.0
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
    port 0: whichever is free. Raises OSError.

    Whoever comes is greeted by a thread of its own: one that says nothing, or little, keeps nobody waiting.
    """

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
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        # greetings that are over, each with whether the key was shown, and a word on the pipe for each
        self._greeted: SimpleQueue[tuple[Connection, dict[str, Any] | None, bool]] = SimpleQueue()
        self._woken, self._waker = Pipe(duplex=False)
        self._at_it = 0
        # made once: of a thousand ranks
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def close(self) -> None:
        self._selector.close()
        for each in (self._listener, self._woken, self._waker):
            each.close()

    def admit(self, own: Member, size: int, kinds: Sequence[str], seconds: float, late: float) -> list[Guest]:
        """Waits until all other ranks have come, each with a connection of every kind: so many seconds in all, and
        after one has come at most `late` for the next. Raises UserError, which they are told, where one does not come
        or does not fit."""
        _make_room(size * len(kinds))
        guests: dict[int, Guest] = {}
        last = deadline = time.monotonic() + seconds
        limit = f"{seconds:g} s"
        try:
            while len(guests) < size - 1 or any(len(guest.connections) < len(kinds) for guest in guests.values()):
                came = self._next(guests, size, kinds, deadline)
                if came is None:
                    raise UserError(self._absent(guests, size, kinds, limit))
                connection, greeting = came
                self._seat(guests, greeting, connection, own, size)
                deadline = time.monotonic() + late
                limit = f"{late:g} s of the last that came"
                if last < deadline:
                    deadline, limit = last, f"{seconds:g} s"
        except UserError as error:
            for guest in guests.values():
                for connection in guest.connections.values():
                    _tell(connection, {"refused": str(error)})
            raise
        members = [own, *(guests[rank].member for rank in range(1, size))]
        for guest in guests.values():
            _tell(guest.connections[kinds[0]], {"members": [astuple(member) for member in members]})
        return [guests[rank] for rank in range(1, size)]

    def _next(
        self, guests: dict[int, Guest], size: int, kinds: Sequence[str], deadline: float
    ) -> tuple[Connection, dict[str, Any]] | None:
        """The next rank's connection and greeting; None if none comes in time. Raises UserError where a rank that has
        come has ended, and where no more connections can be had."""
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.fileobj is self._listener:
                    self._accept(size, kinds)
                elif key.fileobj is not self._woken:
                    # a rank that has come says nothing until all have: what can be read there is its end
                    name = guests[key.data].member.named(key.data)
                    raise UserError(f"{name} has ended while all were to meet")
            if self._woken.poll(0):
                self._woken.recv_bytes()
                connection, greeting, has_key = self._greeted.get()
                if self._at_it == MOST_AT_ONCE:
                    self._selector.register(self._listener, selectors.EVENT_READ)
                self._at_it -= 1
                if greeting is not None:
                    return connection, greeting
                self._strangers += not has_key
                connection.close()
        return None

    def _accept(self, size: int, kinds: Sequence[str]) -> None:
        try:
            connection = _connection(self._listener.accept()[0])
        except (BlockingIOError, ConnectionAbortedError):
            # it has left again
            return
        except OSError as error:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            raise UserError(
                f"rank 0 cannot take in another rank ({reason_of(error)}): for {size} ranks it has "
                f"{(size - 1) * len(kinds)} connections, and may open {limit} files: raise that limit (ulimit -n)"
            ) from None
        self._at_it += 1
        if self._at_it == MOST_AT_ONCE:
            self._selector.unregister(self._listener)
        threading.Thread(target=self._greet, args=(connection, kinds), name="ttfs_door", daemon=True).start()

    def _greet(self, connection: Connection, kinds: Sequence[str]) -> None:
        """Hears what a rank of this run says first."""
        greeting, has_key = None, False
        with suppress(*STRANGE):
            with ended_after(connection, SECONDS_TO_GREET):
                deliver_challenge(connection, self._key)
                has_key = True
                answer_challenge(connection, self._key)
                said = messages.receive(connection, MOST_GREETING)
            types = {"kind": str, "rank": int, "size": int, "version": str, "member": list}
            if all(type(said[key]) is kind for key, kind in types.items()) and said["kind"] in kinds:
                Member.of(said["member"])
                greeting = dict(said)
        self._greeted.put((connection, greeting, has_key))
        # closed, where nobody waits for it any more
        with suppress(OSError):
            self._waker.send_bytes(b"")

    def _seat(
        self, guests: dict[int, Guest], greeting: dict[str, Any], connection: Connection, own: Member, size: int
    ) -> None:
        """Raises UserError where a rank does not fit to the others, which it is told, too."""
        rank, member = greeting["rank"], Member.of(greeting["member"])
        first = guests.get(rank)
        # it comes once for each kind
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
        if first is None:
            self._selector.register(connection, selectors.EVENT_READ, rank)
        guests[rank] = guest
        _tell(connection, {"seated": True})

    def _absent(self, guests: dict[int, Guest], size: int, kinds: Sequence[str], limit: str) -> str:
        come = {rank for rank, guest in guests.items() if len(guest.connections) == len(kinds)}
        absent = [str(rank) for rank in range(1, size) if rank not in come]
        strangers = f"; {counted(self._strangers, 'connection')} did not show the run's key" if self._strangers else ""
        who = "1 rank has" if len(absent) == 1 else f"{len(absent)} ranks have"
        return (
            f"{who} not come to rank 0 within {limit}, at port {self.port} (of {size} ranks {listed(absent)})"
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
        with ended_after(connection, SECONDS_TO_ANSWER):
            answer = messages.receive(connection, MOST_ANSWER)
    except (OSError, EOFError):
        raise UserError(
            f"rank 0 has ended while rank {rank} waited for all to meet: it was killed, or its messages say why"
        ) from None
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
                with ended_after(connection, max(left, min(SECONDS_TO_ANSWER, deadline - time.monotonic()))):
                    answer_challenge(connection, key)
                    deliver_challenge(connection, key)
                    messages.send(connection, greeting)
                    answer = messages.receive(connection, MOST_ANSWER)
                if "refused" in answer:
                    raise RefusedError(str(answer["refused"]))
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
    """Of a socket, which it takes over."""
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Connection(connected.detach())


@contextmanager
def ended_after(connection: Connection, seconds: float) -> Iterator[None]:
    """Shuts the connection down, on which the block waits, if it takes longer than so many seconds in all. Raises
    TimeoutError then, or what the block makes of it."""
    # no copy of it: files may be short
    same = socket.socket(fileno=connection.fileno())
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        with suppress(OSError):
            same.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        same.detach()
    if is_over.is_set():
        raise TimeoutError(f"not within {seconds:g} s")


def reason_of(error: OSError) -> str:
    """Without what Python adds to it. Where a name is not known, errno is a negative one of the resolver's."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else error.strerror or message_of(error)


def _tell(connection: Connection, answer: dict[str, Any]) -> None:
    """To a rank that may have ended meanwhile: its pulse tells that, once all have met."""
    with suppress(OSError), ended_after(connection, SECONDS_TO_GREET):
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
