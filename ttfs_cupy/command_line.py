"""What the commands share: one sentence and exit code 2 for a user's mistake, and where messages go."""

import logging
import sys
from collections.abc import Callable

from ttfs_cupy.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130


def run(command: Callable[[], None]) -> int:
    """Runs a command; returns the process's exit code."""
    logger = logging.getLogger("ttfs_cupy")
    logger.setLevel(logging.INFO)
    console = logging.StreamHandler(sys.stdout)
    console.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(console)
    try:
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
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            if handler is not console:
                handler.close()
    return 0
