"""How many cores there are to work with, and how many threads to do it in."""

import os

from ttfs_cupy.common.machine.control_groups import quota
from ttfs_cupy.common.shown import shown


def available_cores() -> int:
    """The cores that this process may use, which in a container are fewer than the machine's.

    Of a quota of processor time only whole cores count: the part of one would stop all threads, which wait for each
    other, a few times a second, and that costs more than it brings.
    """
    return max(1, int(min(usable_cores(), quota())))


def usable_cores() -> int:
    """How many cores this process may run on, whatever its quota of their time."""
    return len(core_numbers()) or os.cpu_count() or 1


def core_numbers() -> list[int]:
    """Which cores those are; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def chosen_threads(wanted: int | None = None) -> tuple[int, str]:
    """How many threads to work in, and, where that is not what was asked for, a part of a sentence that says so.

    wanted: None for OMP_NUM_THREADS where it is set, else a thread for each available core. Of a list such as 4,2,
    which is for parallel regions inside one another, the first number counts. What is no whole number from 1 is
    ignored, as OpenMP's libraries do. There are never more threads than usable cores: each has scratch memory of its
    own, and more are slower.
    """
    if wanted is not None:
        return _bounded(wanted, "threads")
    number = environments_threads()
    if number is not None:
        return _bounded(number, "OMP_NUM_THREADS")
    text = os.environ.get("OMP_NUM_THREADS", "").strip()
    ignored = f"OMP_NUM_THREADS is ignored, as {shown(text)} is no whole number from 1" if text else ""
    return available_cores(), ignored


def environments_threads() -> int | None:
    """What OMP_NUM_THREADS asks for; None where it is not set, or no whole number from 1."""
    number = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if number.isascii() and number.isdecimal() and number.strip("0"):
        # of more digits than fit any count, Python would refuse to make a number
        return int(number.lstrip("0")[:9])
    return None


def _bounded(wanted: int, name: str) -> tuple[int, str]:
    cores = usable_cores()
    if wanted <= cores:
        return wanted, ""
    return cores, f"{name} is more than its {cores} core{'s' if cores > 1 else ''}"
