"""Where commands begin and end: Ctrl-C ends one with a word and code 130, from its first line to its last.

Most of a second goes by until a command has imported what it needs, and libraries that are interrupted then answer with
tracebacks, or with errors of their own. So this module imports next to nothing, and a command's module after it.
"""

# What signal is made of: signal itself first imports much to make enumerations.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys
from importlib import import_module

# type checkers take it for true; nothing is imported for types alone
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

INTERRUPTED = 130


def run(module: str) -> "NoReturn":
    """Imports that module, calls its main(), and ends the process with the code that this returns."""
    # nohup, and a shell's & in scripts, have Ctrl-C ignored: that stays so
    answers = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if answers:
        signal.signal(signal.SIGINT, _end_at_once)
    main = import_module(module).main
    try:
        if answers:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main()
    except KeyboardInterrupt:
        # before the command looks after it, or after
        _end_at_once()
    finally:
        # all is done and said; what is left is to end
        if answers:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def train() -> "NoReturn":
    run("ttfs_cupy.train")


def evaluate() -> "NoReturn":
    run("ttfs_cupy.evaluate")


def check() -> "NoReturn":
    run("ttfs_cupy.check.command")


def bench() -> "NoReturn":
    run("ttfs_cupy.bench")


def _end_at_once(_signal: int = signal.SIGINT, _frame: "FrameType | None" = None) -> "NoReturn":
    """Nothing is under way that would have to be put in order."""
    try:
        os.write(2, b"interrupted\n")
    finally:
        os._exit(INTERRUPTED)
