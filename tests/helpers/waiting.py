"""What becomes true in another thread, a moment later."""

import threading
import time
from collections.abc import Callable

SECONDS = 10.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Raises AssertionError, with the threads that run, if it does not within some seconds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, [thread.name for thread in threading.enumerate()]
        time.sleep(0.001)
