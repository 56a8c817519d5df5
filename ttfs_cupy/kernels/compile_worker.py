"""A process that compiles what it is told to: requests on stdin, answers on stdout, a line of JSON each.

It is run by compile_pool as `python -m`, which imports nothing of the caller's main module, whatever that is: a
notebook, a script without a guard, a command. It ends when its stdin does, so with its caller.
"""

import json
import os
import signal
import sys
from pathlib import Path

from ttfs_cupy.errors import UserError
from ttfs_cupy.kernels import cubins


def main() -> None:
    # Ctrl-C in a terminal reaches every process; the caller ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # whatever a library prints is no answer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
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


if __name__ == "__main__":
    main()
