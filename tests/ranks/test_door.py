"""Who may come to rank 0's door while ranks meet, and who keeps nobody waiting there."""

import errno
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any

import pytest
from helpers.waiting import wait_until

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks import door as doors
from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.door import Door, RefusedError, come
from ttfs_cupy.ranks.members import Member

KEY = b"a key of this run"
KINDS = ("control", "pulse")


@contextmanager
def a_door(size: int = 2, seconds: float = 5.0, late: float = 60.0) -> Iterator[tuple[Door, "Future[Any]"]]:
    """A door at which rank 0 waits for the others."""
    door = Door("127.0.0.1", 0, KEY)
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stack.callback(door.close)
        yield door, pool.submit(door.admit, Member.here(), size, KINDS, seconds, late)


def greeting(rank: int, size: int = 2, process: int = 5, version: str = doors.__version__) -> dict[str, Any]:
    return {"rank": rank, "size": size, "version": version, "member": ["node2", process, "machine 2"]}


def called(door: Door, greeting: dict[str, Any], key: bytes = KEY, seconds: float = 3.0) -> Any:
    return come([("127.0.0.1", door.port)], key, greeting, KINDS, seconds)


def test_two_ranks_of_one_number() -> None:
    with a_door(size=3) as (door, admitted):
        first = ThreadPoolExecutor(1).submit(called, door, greeting(1, 3, process=5))
        # it has come by both kinds, and is seated: its first connection is listened to
        wait_until(lambda: len(door._selector.get_map()) == 3)
        sentence = r"two processes are rank 1: rank 1 \(node2, process 5\) and rank 1 \(node2, process 6\): number them"
        with pytest.raises(RefusedError, match=sentence):
            called(door, greeting(1, 3, process=6))
        for task in (first, admitted):
            with pytest.raises(UserError, match=sentence):
                task.result()


def test_another_version() -> None:
    with a_door() as (door, admitted):
        with pytest.raises(RefusedError, match=r"rank 1 \(node2, process 5\) runs ttfs_cupy 0\.0\.7 and rank 0"):
            called(door, greeting(1, version="0.0.7"))
        with pytest.raises(UserError, match=r"install the same version"):
            admitted.result()


def test_a_rank_beyond_the_last() -> None:
    with a_door() as (door, admitted):
        with pytest.raises(RefusedError, match=r"two processes are rank 0: rank 0 .* and rank 0 "):
            called(door, greeting(0))
        with pytest.raises(UserError, match="number them from 0 up"):
            admitted.result()


def test_a_rank_that_ends_while_others_are_missing() -> None:
    with a_door(size=3, seconds=60.0) as (door, admitted):
        seated(door, 3).close()
        with pytest.raises(UserError, match=r"rank 1 \(node2, process 5\) has ended while all were to meet"):
            admitted.result()


def test_a_wrong_key_opens_nothing() -> None:
    with a_door(seconds=1.5) as (door, admitted):
        with pytest.raises(UserError, match="what answers there is not rank 0 of this run"):
            called(door, greeting(1), key=b"another run's", seconds=0.5)
        with pytest.raises(UserError, match=r"[1-9]\d* connections? did not show the run's key"):
            admitted.result()


def seated(door: Door, size: int) -> Connection:
    """Rank 1's first connection, which rank 0 has accepted."""
    about = {**greeting(1, size), "kind": "control"}
    return doors._called([("127.0.0.1", door.port)], KEY, about, time.monotonic() + 3, 3, {})


def test_who_has_come_waits_for_the_next_one_for_a_shorter_time() -> None:
    with a_door(size=4, seconds=60.0, late=0.3) as (door, admitted):
        first = seated(door, 4)
        said = (
            r"3 ranks have not come to rank 0 within 0\.3 s of the last that came, at port \d+ \(of 4 ranks 1, 2, 3\)"
        )
        with pytest.raises(UserError, match=said) as refusal:
            admitted.result(10)
        assert messages.receive(first) == {"refused": str(refusal.value)}
        first.close()


def test_greetings_without_the_key_are_counted_and_no_others() -> None:
    with a_door(seconds=1.0) as (door, admitted), ExitStack() as stack:
        for _ in range(3):
            _garbage(stack.enter_context(socket.create_connection(("127.0.0.1", door.port))))
        # it has the key, and says nonsense
        knock(door).send_bytes(b"[]")
        with pytest.raises(UserError, match=r"; 3 connections did not show the run's key:"):
            admitted.result()


@pytest.mark.parametrize("drips", [False, True])
def test_strangers_who_say_little_keep_nobody_waiting(drips: bool) -> None:
    with a_door(seconds=60.0) as (door, admitted), ExitStack() as stack:
        strangers = [stack.enter_context(socket.create_connection(("127.0.0.1", door.port))) for _ in range(20)]
        for stranger in strangers if drips else []:
            stranger.sendall(b"\0\0\0\xffx")
        begun = time.monotonic()
        called(door, greeting(1))
        assert len(admitted.result()) == 1
        # less than one of them may take
        assert time.monotonic() < begun + doors.SECONDS_TO_GREET


def test_a_greeting_has_so_many_seconds_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "SECONDS_TO_GREET", 0.5)
    with a_door(seconds=60.0) as (door, admitted):
        with socket.create_connection(("127.0.0.1", door.port)) as stranger, pytest.raises(OSError):
            stranger.sendall(b"\0\0\0\xff")
            for _ in range(100):
                stranger.sendall(b"x")
                time.sleep(0.05)
        called(door, greeting(1))
        assert len(admitted.result()) == 1


def test_more_strangers_than_are_greeted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "SECONDS_TO_GREET", 0.2)
    monkeypatch.setattr(doors, "MOST_AT_ONCE", 2)
    with a_door(seconds=60.0) as (door, admitted), ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(socket.create_connection(("127.0.0.1", door.port)))
        called(door, greeting(1), seconds=10)
        assert len(admitted.result()) == 1


def test_too_few_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_door(size=3, seconds=60.0) as (door, admitted):
        first = seated(door, 3)

        def full(_listener: socket.socket) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(socket.socket, "accept", full)
        with socket.create_connection(("127.0.0.1", door.port)):
            said = r"cannot take in another rank \(Too many open files\): for 3 ranks it has 4 connections, and may"
            with pytest.raises(UserError, match=said) as refusal:
                admitted.result(10)
        assert messages.receive(first) == {"refused": str(refusal.value)}


def _nothing(stranger: socket.socket) -> None:
    pass


def _garbage(stranger: socket.socket) -> None:
    stranger.sendall(b"GET / HTTP/1.1\r\nHost: node1\r\n\r\n" * 10)


def _huge(stranger: socket.socket) -> None:
    # a message's length: as many bytes as none may have
    stranger.sendall(b"\x7f\xff\xff\xff" + b"x" * 1000)


def _huger(stranger: socket.socket) -> None:
    stranger.sendall(b"\xff\xff\xff\xff" + b"\x7f" * 8 + b"x" * 1000)


def _silent(stranger: socket.socket) -> None:
    time.sleep(0.3)


@pytest.mark.parametrize("say", [_nothing, _garbage, _huge, _huger, _silent])
def test_strangers_at_the_door(say: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "SECONDS_TO_GREET", 1)
    with a_door() as (door, admitted):
        with socket.create_connection(("127.0.0.1", door.port)) as stranger:
            say(stranger)
            if say is not _silent:
                stranger.close()
            _connections, members = called(door, greeting(1))
        assert len(members) == 2
        assert admitted.result()[0].member.host == "node2"


@pytest.mark.parametrize(
    "said",
    [
        "x",
        {},
        {**greeting(1), "kind": "control", "rank": "1"},
        {**greeting(1), "kind": "control", "rank": True},
        {**greeting(1), "kind": "control", "member": ["node2", "5", "m"]},
        {**greeting(1), "kind": "control", "member": []},
        {**greeting(1), "kind": "x" * 10_000},
        {**greeting(1), "kind": "another"},
    ],
)
def test_greetings_of_another_form(said: Any) -> None:
    """Of one who has the key, which at an address is no secret."""
    with a_door() as (door, admitted):
        deadline = time.monotonic() + 3
        stranger = knock(door)
        stranger.send_bytes(json.dumps(said).encode())
        called(door, greeting(1))
        assert len(admitted.result()) == 1
        assert time.monotonic() < deadline
        stranger.close()


def knock(door: Door) -> Connection:
    """A connection that has shown that it knows the key."""
    connection = doors._connection(socket.create_connection(("127.0.0.1", door.port)))
    doors.answer_challenge(connection, KEY)
    doors.deliver_challenge(connection, KEY)
    return connection
