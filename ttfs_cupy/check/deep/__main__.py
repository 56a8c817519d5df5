"""One stage, in the process that the runner made for it: NAME MODULE FOLDER DEVICE END (by time.monotonic)."""

import faulthandler
import importlib
import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.common.errors import UserError


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 1 where the stage could not go on. What it found wrong is in its notes."""
    name, module, folder, device, end = arguments
    notes = Notes(Path(folder), name, float(end))
    logging.basicConfig(level=logging.INFO, format="log: %(message)s", stream=sys.stdout)
    try:
        importlib.import_module(module).run(notes, device)
    except UserError as error:
        notes.attention(" ".join(str(error).split()))
        return 1
    except Exception as error:  # whatever stops a stage, the others go on
        traceback.print_exc()
        notes.attention(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return 1
    return 0


if __name__ == "__main__":
    # a crash, and the runner before it kills a stage, have the stack printed
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    sys.exit(main(sys.argv[1:]))
