"""How many cores there are to work with, and how many threads to do it in."""

import os

from ttfs_cupy.common.machine.control_groups import quota


def available_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine's.

    Of a quota of processor time only whole cores count: the part of one would stop all threads, which wait for each
    other, a few times a second, and that costs more than it brings.
    """
    return max(1, int(min(usable_cores(), quota())))


def usable_cores() -> int:
    """The cores that this process may run on, whatever its quota of their time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """OMP_NUM_THREADS where it is set, else a thread for each available core.

    Of a list such as 4,2, which is for parallel regions inside one another, the first number counts. What is no whole
    number from 1 is ignored, as OpenMP's libraries do. There are never more threads than usable cores.
    """
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isascii() and text.isdecimal() and text.strip("0"):
        # of more digits than fit any count, Python would refuse to make a number
        return bounded_threads(int(text.lstrip("0")[:9]))
    return available_cores()


def bounded_threads(wanted: int) -> int:
    """So many threads, but no more than usable cores: each has scratch memory of its own, and more are slower."""
    return min(wanted, usable_cores())
