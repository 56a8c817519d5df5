"""What became of a process that a test did not start itself."""

import time

import psutil


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
