"""Address space, of which ulimit -v leaves a process little.

OpenBLAS, which NumPy and SciPy each bring, takes 32 MiB for each of its threads as it is loaded. Where it cannot have
them, it ends the process, or tries for ever, and no signal reaches Python. So there has to be room before it is loaded.
"""

import mmap
import resource

# What NumPy, and later scikit-learn with SciPy, take with one thread each, and something to work in.
ROOM = 192 << 20


def is_limited() -> bool:
    """Whether somebody has set a limit."""
    limits = (resource.RLIMIT_AS, resource.RLIMIT_DATA)
    return any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits)


def is_behind(error: BaseException) -> bool:
    """Whether an error, of an import say, is for want of memory, by what it says or by what it was raised from."""
    # Python's own, where something was to be made and no error was set
    if isinstance(error, MemoryError) or (isinstance(error, SystemError) and not has_room()):
        return True
    # the loader's, of a library that cannot be mapped
    words = ("cannot allocate memory", "failed to map segment", "out of memory")
    if any(one in str(error).lower() for one in words):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and is_behind(before)


def has_room(size: int = ROOM) -> bool:
    """Whether there are so many bytes left; none of them is used."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError:
        return False
    return True
