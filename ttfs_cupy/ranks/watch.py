"""Whether all ranks of a run live: each sends rank 0 a word a second, and rank 0 each, apart from all else."""

import contextlib
import os
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.ranks import messages
from ttfs_cupy.ranks.group import LostRankError, Wished
from ttfs_cupy.ranks.members import Member

# bytes of a word: a sentence, escaped
MOST = 1 << 16
# for what has been sent to arrive
SECONDS_TO_ARRIVE = 2.0
# until others look whether the rank that is to say that rank 0 is lost still lives, and so has said it
SECONDS_TO_SAY = 0.2


@dataclass(frozen=True)
class Seconds:
    """meeting: until all ranks have met; late: for which rank 0 waits for the next one after one has come; beat: from
    word to word; silence: after which a rank is lost; grace: from a loss until a process that has not ended is ended;
    order: in which an orderly end has come at all ranks; common: in which rank 0 finds a mistake that all ranks make,
    which it tells then, and no other rank does."""

    meeting: float = 60.0
    late: float = 25.0
    beat: float = 1.0
    silence: float = 10.0
    grace: float = 10.0
    order: float = 60.0
    common: float = 2.0


SECONDS = Seconds()


@dataclass(frozen=True)
class Loss:
    """A rank that has ended before the others, or is out of reach.

    code: with which this process then ends. is_interrupted: a signal ended it, which ends the run without a sentence.
    is_sudden: it could not say so itself, and takes part in nothing any more.
    """

    rank: int
    sentence: str
    code: int
    is_interrupted: bool = False
    is_sudden: bool = False


class Watch:
    """Listens to the pulses of other ranks, in a thread, and beats itself.

    pulses: by rank, of all others at rank 0, of rank 0 elsewhere. The sentence of a loss is said by rank 0, and by the
    lowest rank of each machine that lives if it is rank 0 that is lost, as nobody knows then who else does. It is said
    at once: mpirun may end all processes as soon as one has ended.
    """

    def __init__(self, rank: int, members: Sequence[Member], pulses: dict[int, Connection], seconds: Seconds):
        self._rank, self._members, self._seconds = rank, members, seconds
        self._pulses = dict(pulses)
        # half a word, as a network leaves that breaks down, is not waited for
        self._incoming = {number: messages.Incoming(pulse, MOST) for number, pulse in pulses.items()}
        self._heard = dict.fromkeys(pulses, time.monotonic())
        # made once: at rank 0 it may be of a thousand
        self._selector = selectors.DefaultSelector()
        for number, pulse in pulses.items():
            self._selector.register(pulse, selectors.EVENT_READ, number)
        self._make_locks()
        self._callbacks: list[Callable[[], None]] = []
        # the signal that asks to end, or 0
        self._wants_end, self._saves = 0, 0
        # at rank 0: how often each rank has asked to save so far, and how often that was taken
        self._asked = dict.fromkeys(pulses, 0)
        self._taken = 0
        # who has answered this rank's last word
        self._answered: set[int] = set()
        # ranks that have come to the end of their work, and rank 0's exit code at that end
        self._done: set[int] = set()
        # ranks that have said that they end
        self._leaving: set[int] = set()
        self._code: int | None = None
        self.loss: Loss | None = None
        # whether all that follows from the loss has been said and done
        self._is_settled = False
        self._is_ending = self._is_closed = False
        self._must_end, self._last_code, self._exit = threading.Event(), 0, os._exit
        self.thread = threading.Thread(target=self._run, name="ttfs_pulse", daemon=True)
        renew_in_children(self)

    def start(self) -> None:
        self._heard = dict.fromkeys(self._pulses, time.monotonic())
        with uninterrupted():
            self.thread.start()
            threading.Thread(target=self._end_in_time, name="ttfs_end", daemon=True).start()

    def check(self) -> None:
        """Raises LostRankError."""
        if self.loss is not None:
            raise LostRankError(self.loss.sentence)

    def lost(self, rank: int) -> LostRankError:
        """What to raise where another connection to that rank has closed: its pulse soon says why."""
        with self._changed:
            self._changed.wait_for(lambda: self.loss is not None, SECONDS_TO_ARRIVE)
        if self.loss is None:
            self._lose(rank, "has closed its connection")
        assert self.loss is not None
        return LostRankError(self.loss.sentence)

    def on_loss(self, callback: Callable[[], None]) -> None:
        with self._changed:
            if self.loss is None:
                self._callbacks.append(callback)
                return
        callback()

    def fail(self, sentence: str) -> None:
        """From any thread: this rank cannot go on, and may wait for what does not come. That is a loss."""
        if self._rank and self.loss is None:
            self._send(0, {"ended": sentence[:1000], "code": command_line.USER_ERROR, "is_interrupted": False})
        named = self._members[self._rank].named(self._rank)
        self._know(Loss(self._rank, f"{named} cannot go on: {sentence}", command_line.USER_ERROR))

    @property
    def interrupted_by(self) -> int:
        """The signal that has ended another rank, if that is the loss; else 0."""
        return self.loss.code - 128 if self.loss is not None and self.loss.is_interrupted else 0

    def wish(self, *, end: int, save: bool) -> None:
        self._wants_end = self._wants_end or end
        self._saves += save
        if self._rank:
            self._send(0, self._beat())

    def take_wishes(self) -> Wished:
        if self._rank:
            return Wished()
        asked = self._saves + sum(self._asked.values())
        is_new, self._taken = asked > self._taken, asked
        return Wished(self._wants_end, is_new)

    def end_in_order(self, code: int) -> int:
        """This rank has come to its end. Waits for the others, and returns rank 0's exit code, at all ranks. Raises
        LostRankError."""
        if self._rank:
            self._send(0, {"done": True})
            with self._changed:
                self._changed.wait_for(lambda: self.loss is not None or self._code is not None)
            if self._code is None:
                self.check()
            self.close()
            return code if self._code is None else self._code
        others = set(range(1, len(self._members)))
        with self._changed:
            came = self._changed.wait_for(lambda: self.loss is not None or others <= self._done, self._seconds.order)
        if not came:
            late = min(others - self._done)
            self._lose(late, f"has not come to its end within {self._seconds.order:g} s of rank 0's")
        self.check()
        # who hears it may be gone before its answer is on its way
        self._code = code
        self._say_last({"over": code})
        self.close()
        return code

    def end_badly(self, sentence: str, code: int, *, is_interrupted: bool = False) -> None:
        """Tells the others that this rank ends before its work is done, and waits until they know."""
        self._say_last({"ended": sentence[:1000], "code": code, "is_interrupted": is_interrupted})

    def settle(self) -> None:
        """Waits until what follows from a loss is said, and told to the others: this process may end then."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled, self._seconds.grace)

    def wait_for_rank_0(self) -> None:
        """Until rank 0 has ended, or says that it does, or that a rank is lost; at most for seconds.common."""
        with self._changed:
            self._changed.wait_for(lambda: self.loss is not None or not self._pulses, self._seconds.common)

    def linger(self, *, until_gone: bool) -> None:
        """Until rank 0 leaves, or has gone: what started it may end it, before it has said its sentence, once another
        process has ended."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._pulses or (0 in self._leaving and not until_gone), self._seconds.order
            )

    def close(self) -> None:
        self._is_closed = True

    def after_fork(self) -> None:
        """A child holds no pulse: its parent would seem to live as long as it does."""
        self._is_closed = True
        self._make_locks()
        self._selector.close()
        for pulse in self._pulses.values():
            pulse.close()
        self._pulses = {}

    def _make_locks(self) -> None:
        # held while a word is sent; and while what is known of the others changes
        self._sending, self._changed = threading.Lock(), threading.Condition()

    def _run(self) -> None:
        beats_at = looked_at = time.monotonic()
        while not self._is_closed and self._pulses:
            if time.monotonic() >= beats_at:
                beats_at = time.monotonic() + self._seconds.beat
                for rank in list(self._pulses):
                    self._send(rank, self._beat())
            for key, _ in self._selector.select(max(0.0, beats_at - time.monotonic())):
                self._hear(key.data)
            now = time.monotonic()
            if now > looked_at + 3 * self._seconds.beat:
                # this process itself was stopped for a while, and all others may have been, as by Ctrl-Z
                self._heard = dict.fromkeys(self._pulses, now)
            looked_at = now
            # only after all that had come was heard
            for rank in list(self._pulses):
                if now > self._heard[rank] + self._seconds.silence and not self._is_over:
                    self._drop(rank)
                    silent = f"has said nothing for {self._seconds.silence:g} s"
                    self._lose(rank, f"{silent}: it is stopped or hangs, or the network is down")

    @property
    def _is_over(self) -> bool:
        """Whether ranks may go: this one has said its last word, or rank 0 has."""
        return self._is_ending or self._code is not None

    def _beat(self) -> dict[str, Any]:
        return {"end": self._wants_end, "saves": self._saves} if self._rank else {}

    def _hear(self, rank: int) -> None:
        try:
            for word in self._incoming[rank].read():
                self._take(rank, word)
                self._heard[rank] = time.monotonic()
                if "ended" in word or "over" in word:
                    self._send(rank, {"heard": True})
        except (OSError, EOFError):
            self._drop(rank)
            if not self._is_over and rank not in self._leaving:
                self._lose(rank, "has ended without a word: it was killed, or its machine or the network is down")
        except (messages.MessageError, LookupError, TypeError, ValueError, ArithmeticError):
            self._drop(rank)
            self._lose(rank, "sends what is no word of a rank")

    def _take(self, rank: int, word: dict[str, Any]) -> None:
        if "saves" in word:
            self._asked[rank] = int(word["saves"])
            self._wants_end = self._wants_end or int(word["end"])
        elif "done" in word:
            self._note(lambda: self._done.add(rank))
        elif "heard" in word:
            self._note(lambda: self._answered.add(rank))
        elif "over" in word:
            self._note(lambda: setattr(self, "_code", int(word["over"])))
        elif "lost" in word:
            flags = bool(word["is_interrupted"]), bool(word["is_sudden"])
            self._know(Loss(int(word["lost"]), str(word["sentence"]), int(word["code"]), *flags))
        elif "ended" in word:
            sentence = f"{self._members[rank].named(rank)} has ended: {word['ended']}"
            # rank 0's exit code is that of all, and it has said its sentence itself
            is_interrupted, is_said = bool(word["is_interrupted"]), rank == 0
            code = int(word["code"]) if is_said or is_interrupted else command_line.USER_ERROR
            self._know(Loss(rank, sentence, code, is_interrupted), is_said=is_said)
            self._note(lambda: self._leaving.add(rank))

    def _note(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def _drop(self, rank: int) -> None:
        """Hears it no more. Only the thread that listens does this."""
        self._selector.unregister(self._pulses[rank])
        self._note(lambda: self._pulses.pop(rank))

    def _lose(self, rank: int, what: str) -> None:
        loss = Loss(rank, f"{self._members[rank].named(rank)} {what}", command_line.USER_ERROR, is_sudden=True)
        self._know(loss, is_said=bool(self._before()))

    def _before(self) -> list[Member]:
        """Ranks of this machine, but for rank 0, that come before this one, and say first what is to be said."""
        here = self._members[self._rank].machine
        return [member for member in self._members[1 : self._rank] if member.machine == here]

    def _say_for_others(self, loss: Loss) -> None:
        """That rank 0 is lost, if those who were to say it have died with it."""
        before = self._before()
        # who has said it stays that long
        time.sleep(SECONDS_TO_SAY if before else 2 * SECONDS_TO_SAY)
        if before and not any(member.lives() for member in before):
            command_line.complain(loss.sentence)

    def _know(self, loss: Loss, *, is_said: bool | None = None) -> None:
        """The first loss counts: others follow from it."""
        # rank 0 may still save what it has, where a signal has ended another rank
        if loss.rank == 0 or not loss.is_interrupted:
            self._last_code = self._last_code or loss.code or command_line.USER_ERROR
            self._must_end.set()
        with self._changed:
            if self.loss is not None:
                return
            self.loss = loss
            callbacks, self._callbacks = self._callbacks, []
        # before any other thread is woken: it is a matter of milliseconds whether this process gets to say it
        said = self._rank != 0 if is_said is None else is_said
        if not said and not loss.is_interrupted:
            command_line.complain(loss.sentence)
        self._note(lambda: None)
        if not self._rank:
            flags = {"is_interrupted": loss.is_interrupted, "is_sudden": loss.is_sudden}
            for rank in set(self._pulses) - {loss.rank}:
                self._send(rank, {"lost": loss.rank, "sentence": loss.sentence, "code": loss.code, **flags})
        for callback in callbacks:
            # what a wire raises as it is broken off is not what is wrong
            with contextlib.suppress(Exception):
                callback()
        if self._rank and loss.rank == 0 and loss.is_sudden:
            self._say_for_others(loss)
        self._note(lambda: setattr(self, "_is_settled", True))

    def _end_in_time(self) -> None:
        """Ends this process some seconds after it must end, whatever it is at."""
        self._must_end.wait()
        time.sleep(self._seconds.grace)
        self._exit(self._last_code)

    def _say_last(self, word: dict[str, Any]) -> None:
        """To all, and waits until they have heard it: what is on its way as a process ends may be lost."""
        self._is_ending = True
        for rank in list(self._pulses):
            self._send(rank, word)
        with self._changed:
            self._changed.wait_for(lambda: set(self._pulses) <= self._answered, SECONDS_TO_ARRIVE)

    def _send(self, rank: int, word: dict[str, Any]) -> None:
        with self._sending:
            pulse = self._pulses.get(rank)
            if pulse is not None:
                # a pulse that is closed is found by whoever listens
                with contextlib.suppress(OSError):
                    messages.send(pulse, word)
