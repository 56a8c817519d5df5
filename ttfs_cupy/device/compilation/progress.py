"""Tells what is going on where somebody would otherwise wait and wonder."""

import logging
import sys

logger = logging.getLogger("ttfs_cupy")


def announce(message: str) -> None:
    """A line in the log of a command; where nobody listens to that, as in a notebook or a script, on stderr."""
    if logger.isEnabledFor(logging.INFO) and logger.hasHandlers():
        logger.info("%s", message)
    elif sys.stderr is not None:
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
