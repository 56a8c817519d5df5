"""The beginning of MPI, which waits for all ranks, and has no end of its own if one never comes."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ttfs_cupy.common.command.interruption import SIGNALS

# Says why, and ends the process, unless standard input is closed before: by it, or as it dies.
GUARD = """
import os, select, signal, sys
if not select.select([0], [], [], float(sys.argv[1]))[0]:
    os.write(2, os.fsencode(sys.argv[2]))
    os.kill(os.getppid(), signal.SIGTERM)
"""


@contextmanager
def bounded(seconds: float, sentence: str) -> Iterator[None]:
    """Says the sentence and ends this process by SIGTERM, if the block takes longer; Ctrl-C and SIGTERM end it at once.

    For a block that waits in C and keeps Python's lock: no thread of this process could do it, and no handler of a
    signal. Another process does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    # isolated, and without site: it starts in some milliseconds
    command = [sys.executable, "-I", "-S", "-c", GUARD, str(seconds), f"error: {sentence}\n"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as guard:
        try:
            for number in ours:
                signal.signal(number, signal.SIG_DFL)
            yield
        finally:
            for number, handler in ours.items():
                signal.signal(number, handler)
            assert guard.stdin is not None
            guard.stdin.close()
