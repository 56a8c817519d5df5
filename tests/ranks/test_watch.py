"""The pulse between ranks, whose other end the test holds."""

import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest
from helpers.waiting import wait_until

from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.group import LostRankError, Wished
from ttfs_cupy.ranks.members import Member
from ttfs_cupy.ranks.watch import Seconds, Watch

MEMBERS = [Member(f"node{rank // 2}", 100 + rank, f"machine {rank // 2}") for rank in range(4)]
# longer than any test, but for those that say otherwise
LONG = Seconds(beat=0.05, silence=60.0, grace=60.0, order=60.0)
WORD = "has ended without a word: it was killed, or its machine or the network is down"


class Pulses:
    """A rank's watch, and the other ends of its pulses."""

    def __init__(self, rank: int, seconds: Seconds):
        others = range(1, len(MEMBERS)) if rank == 0 else [0]
        pipes = {other: Pipe() for other in others}
        self.far: dict[int, Connection] = {other: far for other, (_near, far) in pipes.items()}
        self.watch = Watch(rank, MEMBERS, {other: near for other, (near, _far) in pipes.items()}, seconds)
        self.watch.start()

    def say(self, rank: int, **word: Any) -> None:
        messages.send(self.far[rank], word)

    def hear(self, rank: int, key: str) -> dict[str, Any]:
        """The next word with that key: those between are beats."""
        while True:
            assert self.far[rank].poll(10)
            word = messages.receive(self.far[rank])
            if key in word:
                assert isinstance(word, dict)
                return word

    def lost(self) -> str:
        wait_until(lambda: self.watch.loss is not None)
        self.watch.settle()
        with pytest.raises(LostRankError) as loss:
            self.watch.check()
        return str(loss.value)


@pytest.fixture(autouse=True)
def exits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The codes with which a watch would have ended this process."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    return codes


@pytest.fixture
def pulses() -> Iterator[Callable[..., Pulses]]:
    """Makes some: pulses(rank, seconds)."""
    made: list[Pulses] = []

    def make(rank: int, seconds: Seconds = LONG) -> Pulses:
        made.append(Pulses(rank, seconds))
        return made[-1]

    yield make
    for each in made:
        each.watch.close()
        # it would take what follows for losses
        each.watch.thread.join(10)
        for far in each.far.values():
            far.close()


def test_all_beat(pulses: Callable[..., Pulses]) -> None:
    zero, one = pulses(0), pulses(1)
    for _ in range(3):
        assert messages.receive(zero.far[2]) == messages.receive(zero.far[3]) == {}
        assert messages.receive(one.far[0]) == {"end": 0, "saves": 0}


def test_a_rank_whose_pulse_ends(pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str]) -> None:
    zero = pulses(0)
    zero.far[2].close()
    assert zero.lost() == f"rank 2 (node1, process 102) {WORD}"
    assert capfd.readouterr().err == f"error: rank 2 (node1, process 102) {WORD}\n"
    for rank in (1, 3):
        word = zero.hear(rank, "lost")
        assert (word["lost"], word["sentence"]) == (2, f"rank 2 (node1, process 102) {WORD}")


@pytest.mark.parametrize(("rank", "dead", "says"), [(1, [], True), (2, [], True), (3, [], False), (3, [102], True)])
def test_rank_0s_loss_is_said_once_a_machine(
    rank: int,
    dead: list[int],
    says: bool,
    pulses: Callable[..., Pulses],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the lowest rank there that has not died with it."""
    monkeypatch.setattr(Member, "lives", lambda self: self.process not in dead)
    other = pulses(rank)
    other.far[0].close()
    assert other.lost() == f"rank 0 (node0, process 100) {WORD}"
    assert capfd.readouterr().err == (f"error: rank 0 (node0, process 100) {WORD}\n" if says else "")


def test_what_rank_0_tells_is_not_said_again(pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str]) -> None:
    one = pulses(1)
    one.say(0, lost=3, sentence="rank 3 is gone", code=2, is_interrupted=False, is_sudden=True)
    assert one.lost() == "rank 3 is gone"
    one.far[0].close()
    assert one.lost() == "rank 3 is gone"
    assert capfd.readouterr().err == ""


def test_silence_is_a_loss_and_beats_are_not(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0, Seconds(beat=0.05, silence=0.6))
    begun = time.monotonic()
    while time.monotonic() < begun + 1.2:
        zero.say(1)
        zero.say(2)
        # the third one beats for a while
        if time.monotonic() < begun + 0.3:
            zero.say(3)
        time.sleep(0.05)
    said = "has said nothing for 0.6 s: it is stopped or hangs, or the network is down"
    assert zero.lost() == f"rank 3 (node1, process 103) {said}"


def test_what_has_come_is_heard_before_silence_is_told(
    pulses: Callable[..., Pulses], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After this process itself was stopped for long."""
    zero = pulses(0, Seconds(beat=0.05, silence=30.0))
    real, shift = time.monotonic, [0.0]
    with zero.watch._sending:
        # the listening thread waits here, while words come, and time goes by
        time.sleep(0.1)
        for rank in (1, 2, 3):
            zero.say(rank)
        shift[0] = 100.0
        monkeypatch.setattr("ttfs_cupy.ranks.watch.time.monotonic", lambda: real() + shift[0])
    time.sleep(0.3)
    assert zero.watch.loss is None


def test_all_may_be_stopped_for_a_while(pulses: Callable[..., Pulses], monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-Z and fg: nothing has come meanwhile."""
    zero = pulses(0, Seconds(beat=0.05, silence=30.0))
    real, shift = time.monotonic, [0.0]
    monkeypatch.setattr("ttfs_cupy.ranks.watch.time.monotonic", lambda: real() + shift[0])
    for _ in range(3):
        with zero.watch._sending:
            time.sleep(0.1)
            shift[0] += 100.0
        time.sleep(0.2)
        assert zero.watch.loss is None


def test_half_a_word_hides_nobodys_silence(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0, Seconds(beat=0.05, silence=0.5))
    os.write(zero.far[1].fileno(), b"\0\0\0\x05{")
    assert "has said nothing for 0.5 s" in zero.lost()


def test_a_word_in_pieces_is_one(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0)
    for byte in struct.pack("!i", 24) + b'{"end": true, "saves":3}' + struct.pack("!i", 2) + b"{}":
        os.write(zero.far[1].fileno(), bytes([byte]))
    wait_until(lambda: zero.watch._asked[1] == 3)
    assert zero.watch.loss is None


def test_a_process_that_has_not_ended_in_time_is_ended(pulses: Callable[..., Pulses], exits: list[int]) -> None:
    one = pulses(1, Seconds(beat=0.05, grace=0.2))
    one.say(0, ended="the disk is full", code=141, is_interrupted=False)
    assert one.lost() == "rank 0 (node0, process 100) has ended: the disk is full"
    wait_until(lambda: exits == [141])


def test_a_rank_that_says_why_it_ends(pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str]) -> None:
    zero = pulses(0)
    zero.say(3, ended="the data are not here", code=2, is_interrupted=False)
    sentence = "rank 3 (node1, process 103) has ended: the data are not here"
    assert zero.lost() == sentence
    assert zero.hear(3, "heard") == {"heard": True}
    assert zero.hear(1, "lost")["sentence"] == sentence
    assert capfd.readouterr().err == f"error: {sentence}\n"


def test_a_rank_that_cannot_go_on_says_so_whatever_it_waits_for(
    pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str]
) -> None:
    rank = pulses(2)
    rank.watch.fail("its network is down")
    assert rank.hear(0, "ended") == {"ended": "its network is down", "code": 2, "is_interrupted": False}
    assert rank.lost() == f"{MEMBERS[2].named(2)} cannot go on: its network is down"
    assert capfd.readouterr().err == "", "rank 0 says it"


def test_a_rank_0_that_cannot_go_on(pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str]) -> None:
    first = pulses(0)
    for _ in range(2):
        first.watch.fail("its network is down")
    said = f"{MEMBERS[0].named(0)} cannot go on: its network is down"
    assert first.lost() == said
    for other in (1, 2, 3):
        assert first.hear(other, "lost")["sentence"] == said
    assert capfd.readouterr().err.count(said) == 1


def test_an_interrupted_rank_is_no_error(
    pulses: Callable[..., Pulses], capfd: pytest.CaptureFixture[str], exits: list[int]
) -> None:
    zero = pulses(0, Seconds(beat=0.05, grace=0.05))
    zero.say(3, ended="KeyboardInterrupt", code=143, is_interrupted=True)
    zero.lost()
    assert zero.watch.loss is not None
    assert (zero.watch.loss.code, zero.watch.loss.is_interrupted, zero.watch.interrupted_by) == (143, True, 15)
    zero.far[3].close()
    # rank 0 saves what it has, for however long that takes
    time.sleep(0.2)
    assert (exits, capfd.readouterr().err) == ([], "")


def test_others_end_once_an_interrupted_rank_0_has_left(pulses: Callable[..., Pulses], exits: list[int]) -> None:
    one = pulses(1, Seconds(beat=0.05, grace=0.05))
    one.say(0, lost=2, sentence="", code=143, is_interrupted=True, is_sudden=False)
    one.lost()
    time.sleep(0.2)
    assert exits == []
    one.say(0, ended="KeyboardInterrupt", code=130, is_interrupted=True)
    wait_until(lambda: exits == [130])


@pytest.mark.parametrize(
    "text",
    [
        b"x",
        b"[]x",
        b'{"ended": 1}',
        b'{"saves": "x", "end": 1}',
        b'{"saves": Infinity, "end": 1}',
        b"5",
        b'{"lost": 1}',
        b"\xff" * 70_000,
    ],
)
def test_what_is_no_word_is_a_loss(text: bytes, pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0)
    zero.far[1].send_bytes(text)
    assert zero.lost().startswith("rank 1 (node0, process 101) ")


def test_losses_are_called_out_once(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0)
    called: list[str] = []

    def broken() -> None:
        called.append("broken")
        raise RuntimeError("what a wire says as it breaks")

    zero.watch.on_loss(broken)
    zero.watch.on_loss(lambda: called.append("first"))
    zero.far[1].close()
    zero.lost()
    zero.watch.on_loss(lambda: called.append("late"))
    zero.far[2].close()
    time.sleep(0.1)
    assert called == ["broken", "first", "late"]


def test_wishes_travel_with_the_pulse(pulses: Callable[..., Pulses]) -> None:
    one = pulses(1)
    one.watch.wish(end=0, save=True)
    one.watch.wish(end=0, save=True)
    while one.hear(0, "saves") != {"end": 0, "saves": 2}:
        pass
    one.watch.wish(end=15, save=False)
    while one.hear(0, "saves") != {"end": 15, "saves": 2}:
        pass
    assert one.watch.take_wishes() == Wished()


def test_wishes_are_taken_at_rank_0(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0)
    for _ in range(3):
        # a beat says again what has been asked before
        zero.say(2, end=0, saves=1)
    wait_until(lambda: zero.watch._asked[2] == 1)
    time.sleep(0.1)
    assert [zero.watch.take_wishes().save for _ in range(3)] == [True, False, False]
    zero.say(3, end=15, saves=1)
    wait_until(lambda: zero.watch._asked[3] == 1)
    assert [zero.watch.take_wishes() for _ in range(2)] == [Wished(15, True), Wished(15, False)]


def test_an_orderly_end(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0)
    codes: list[int] = []
    ending = threading.Thread(target=lambda: codes.append(zero.watch.end_in_order(7)))
    ending.start()
    for rank in (1, 2, 3):
        # it waits for them all
        assert not codes
        zero.say(rank, done=True)
    for rank in (1, 2, 3):
        assert zero.hear(rank, "over") == {"over": 7}
        zero.say(rank, heard=True)
        zero.far[rank].close()
    ending.join(10)
    assert (codes, zero.watch.loss) == ([7], None)


def test_others_end_with_rank_0s_code(pulses: Callable[..., Pulses]) -> None:
    one = pulses(1)
    codes: list[int] = []
    ending = threading.Thread(target=lambda: codes.append(one.watch.end_in_order(0)))
    ending.start()
    one.hear(0, "done")
    assert not codes
    one.say(0, over=141)
    assert one.hear(0, "heard")
    one.far[0].close()
    ending.join(10)
    assert (codes, one.watch.loss) == ([141], None)


def test_a_rank_that_does_not_come_to_its_end(pulses: Callable[..., Pulses]) -> None:
    zero = pulses(0, Seconds(beat=0.05, order=0.2))
    zero.say(1, done=True)
    with pytest.raises(LostRankError, match=r"rank 2 \(.*\) has not come to its end within 0\.2 s of rank 0's"):
        zero.watch.end_in_order(0)


def test_rank_0_dies_as_others_wait_for_its_end(pulses: Callable[..., Pulses]) -> None:
    one = pulses(1)
    one.far[0].close()
    with pytest.raises(LostRankError, match=WORD):
        one.watch.end_in_order(0)
