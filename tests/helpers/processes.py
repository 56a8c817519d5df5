"""Processes that a test starts and interrupts, and what became of those that it did not start itself."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import psutil


def answer() -> None:
    """Has signals reach this process: a shell that starts its jobs in the background, and nohup, may have told them to
    ignore some."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def started(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    prepare: Callable[[], object] = answer,
) -> "subprocess.Popen[str]":
    """A process whose output is read. prepare: runs in it before the command does."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=prepare,
    )


@contextlib.contextmanager
def ended(process: "subprocess.Popen[str]") -> Iterator["subprocess.Popen[str]"]:
    """Behind it, neither the process nor what it has started runs any more, whatever the test has found."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                # in sessions of their own, it may be, which no signal to a group reaches
                for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()


def ends(pid: int, seconds: float = 20) -> bool:
    """Whether the process ends within so many seconds: a signal that was sent is not yet a process that is gone.

    A zombie has ended. Who collects it, and when, is up to the machine's first process.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False
