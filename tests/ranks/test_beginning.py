"""What waits in C, with Python's lock, and has to end all the same."""

import signal
import sys

import pytest
from helpers.processes import started
from helpers.signals import usual_signals

from ttfs_cupy.ranks.beginning import bounded

# PyDLL: a call that keeps the lock
WAITS = """
import ctypes, sys
from ttfs_cupy.common.command import command_line
from ttfs_cupy.ranks.beginning import bounded

def command():
    with bounded(float(sys.argv[1]), "it has waited too long"):
        print("waits", flush=True)
        ctypes.PyDLL(None).sleep(60)

command_line.run(command)
"""


def test_it_says_why_and_ends() -> None:
    process = started([sys.executable, "-c", WAITS, "0.5"])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-signal.SIGTERM, "waits\n", "error: it has waited too long\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_end_it_at_once(number: signal.Signals) -> None:
    process = started([sys.executable, "-c", WAITS, "60"])
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.send_signal(number)
    # until whoever else has the streams, the guard, has ended, too
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (-number, "", "")


def test_nothing_is_left_of_it() -> None:
    with usual_signals():
        before = signal.getsignal(signal.SIGINT)
        with bounded(0.05, "never said"):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is before
