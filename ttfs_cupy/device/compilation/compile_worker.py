"""A process that compiles what it is told to: requests on stdin, answers on stdout, a line of JSON each.

It is run by compile_pool, with nothing of the caller's main module, whatever that is: a notebook, a script without a
guard, a command. It ends when its stdin does, so with its caller.
"""

import json
import os
import signal
import sys
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.compilation import cubins


def main(answers_to: int) -> None:
    """answers_to: the file descriptor that answers go to."""
    # Ctrl-C in a terminal reaches every process; the caller ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(answers_to, "w")
    for line in sys.stdin:
        answers.write(json.dumps(_problem(json.loads(line))) + "\n")
        answers.flush()


def _problem(request: dict[str, str]) -> str:
    """What went wrong, in a sentence; empty if nothing did."""
    try:
        cubins.write_entry(request["text"], request["file"], request["architecture"], Path(request["stem"]))
    except UserError as error:
        return str(error)
    return ""
