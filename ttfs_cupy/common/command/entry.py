"""Where commands begin and end: Ctrl-C and SIGTERM end one with a word and code 130 or 143, from first line to last.

Most of a second goes by until a command has imported what it needs, and libraries that are interrupted then answer with
tracebacks, or with errors of their own. So this module imports next to nothing, and a command's module after it.
"""

# What signal is made of: signal itself first imports much to make enumerations.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from importlib import import_module

from ttfs_cupy.common.command.commands import COMMANDS

# type checkers take it for true; nothing is imported for types alone
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import NoReturn

# Bytes of address space, of which OpenBLAS may take some for each core.
PLENTY = 16 << 30


def run(module: str) -> "NoReturn":
    """Imports that module, calls its main(), and ends the process with the code that this returns."""
    # nohup, and a shell's & in scripts, have Ctrl-C ignored: that stays so
    answered = [
        number
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)
    ]
    for number in answered:
        signal.signal(number, _end_at_once)
    # it asks a training to save: what has nothing to save would be ended by it
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        main = _imported(module).main
        # which answers by itself once it has begun its work
        code = main()
    except KeyboardInterrupt:
        _end_at_once()
    finally:
        # all is done and said; what is left is to end
        for number in answered:
            signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _imported(module: str) -> "ModuleType":
    """A command's module; where there is too little memory for all that it needs, the process ends with a sentence."""
    from ttfs_cupy.common.machine import address_space

    if not address_space.is_limited() or address_space.has_room(PLENTY):
        return import_module(module)
    # a thread of OpenBLAS takes 40 MiB, and the engine has products of its own
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not address_space.has_room():
        _end_without_memory()
    try:
        return import_module(module)
    except (ImportError, MemoryError, OSError, SystemError) as error:
        if not address_space.is_behind(error):
            raise
        _end_without_memory()


def _end_without_memory() -> "NoReturn":
    try:
        os.write(2, b"error: too little address space is left to begin in: raise the limit that is set (ulimit -v)\n")
    finally:
        os._exit(2)


def front() -> "NoReturn":
    """`ttfs COMMAND ...` is what `ttfs-COMMAND ...` is; what is no command, front.py answers."""
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        # the rest of the line is the command's own
        module, _ = COMMANDS[sys.argv.pop(1)]
        run(module)
    run("ttfs_cupy.common.command.front")


def __getattr__(name: str) -> "Callable[[], NoReturn]":
    """A function for each command, as scripts and modules call it: `entry.train()` runs the command train."""
    command = name.replace("_", "-")
    if command not in COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return lambda: run(COMMANDS[command][0])


def _end_at_once(number: int = signal.SIGINT, _frame: "FrameType | None" = None) -> "NoReturn":
    """Nothing is under way that would have to be put in order."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        # as shells have it
        os._exit(128 + number)
