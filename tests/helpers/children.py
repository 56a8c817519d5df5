"""Commands in processes of their own, forked from this one, which spares each the seconds of its imports."""

import faulthandler
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from helpers.commands import Outcome
from ttfs_cupy import train as train_command

# An exit code that no command gives.
FAILED = 99


def answer_of(work: Callable[[], bytes | str], seconds: float = 20.0) -> bytes | str:
    """What a forked process returns. Raises AssertionError if it ends without an answer, or has none in time."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = FAILED
        try:
            os.close(reading)
            # one that hangs says where
            faulthandler.dump_traceback_later(0.8 * seconds, exit=True)
            with os.fdopen(writing, "wb") as file:
                file.write(pickle.dumps(work()))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as file:
            assert select.select([file], [], [], seconds)[0], "the child hangs"
            answer = file.read()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert answer, "the child ended without an answer"
    found: bytes | str = pickle.loads(answer)
    return found


class Child:
    """`work`, which returns an exit code, in a forked process; `folder` takes what it says."""

    def __init__(self, work: Callable[[], int], folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._said = [folder / name for name in ("out", "err")]
        sys.stdout.flush()
        sys.stderr.flush()
        self._is_over = False
        self.pid = os.fork()
        if not self.pid:
            self._run(work)

    def _run(self, work: Callable[[], int]) -> None:
        code = FAILED
        try:
            for number, file in zip((1, 2), self._said, strict=True):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            # pytest's, which write elsewhere
            sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            # tqdm's lock is one for all processes that are forked: a child that is killed with it in hand keeps it
            tqdm.set_lock(threading.RLock())
            code = work()
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kills it, unless it has been waited for."""
        if not self._is_over:
            self.kill()
            self.wait()

    def wait(self) -> Outcome:
        """Its exit code, negative for the signal that ended it, and what it said."""
        _, status = os.waitpid(self.pid, 0)
        self._is_over = True
        out, err = (file.read_text() if file.exists() else "" for file in self._said)
        return Outcome(os.waitstatus_to_exitcode(status), out, err)


def training(*arguments: str | Path, folder: Path) -> Child:
    """`ttfs-train` with these arguments."""
    return Child(lambda: train_command.main([str(argument) for argument in arguments]), folder)
