"""How long work takes on a device."""

import time
from collections.abc import Callable

from ttfs_cupy.device import Device

# Seconds, and calls, that are timed at least and at most.
ENOUGH, MOST_CALLS = 2e-3, 50


def seconds_of(device: Device, work: Callable[[], object]) -> float:
    """Of one call, among as many in a row as take a while; on a GPU by its own events. The first one warms up."""
    work()
    once = between(device, work, 1)
    return between(device, work, max(3, min(MOST_CALLS, int(ENOUGH / max(once, 1e-9)))))


def between(device: Device, work: Callable[[], object], times: int) -> float:
    """Seconds of each of so many calls."""
    device.synchronize()
    if device.target == "cpu":
        start = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - start) / times
    cuda = device.xp.cuda
    first, last = cuda.Event(), cuda.Event()
    first.record()
    for _ in range(times):
        work()
    last.record()
    last.synchronize()
    return float(cuda.get_elapsed_time(first, last)) / 1e3 / times
