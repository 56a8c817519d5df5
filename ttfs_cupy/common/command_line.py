"""What the commands share: one sentence and exit code 2 for a user's mistake, and where messages go."""

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.interruption import Interruptions

USER_ERROR = 2
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """Tells a mistake on the command line as all others are told: one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"error: {message}: see {self.prog} --help\n")


def run(command: Callable[[], None], *, process_ends: bool = False) -> int:
    """Runs a command; returns the process's exit code.

    process_ends: nothing is left to do after it. Ctrl-C and SIGTERM are ignored from then on.
    """
    interruptions = Interruptions()
    try:
        interruptions.install()
        code = _outcome(command)
        interruptions.arrived()
    except KeyboardInterrupt:
        interruptions.arrived()
        print("interrupted", file=sys.stderr)
        # as shells have it
        code = 128 + interruptions.number
    finally:
        interruptions.remove(process_ends=process_ends)
    return code


def _outcome(command: Callable[[], None]) -> int:
    """The exit code of a command that is not interrupted."""
    logger = logging.getLogger("ttfs_cupy")
    logger.setLevel(logging.INFO)
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(console)
    try:
        with warnings.catch_warnings():
            # the trainer finds numbers that stop being finite, and says more about them than NumPy's warnings
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="ttfs_cupy")
            command()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except MemoryError as error:
        print(
            f"error: the memory does not suffice ({error}): use a smaller training.batch_size",
            file=sys.stderr,
        )
        return USER_ERROR
    except OSError as error:
        # of a disk that is full, say, while data are unpacked to a temporary folder
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            if handler is not console:
                handler.close()
    return 0
