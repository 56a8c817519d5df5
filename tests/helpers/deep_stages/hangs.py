"""Never comes back, and has started a process that neither does."""

import subprocess
import sys
import time

from helpers.deep_stages.fine import Figure
from ttfs_cupy.check.deep.notes import Notes


def run(notes: Notes, device: str) -> None:
    notes.record(Figure("before", 1.0))
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (notes.folder / "child").write_text(str(child.pid))
    notes.say("about to wait")
    wait_forever()


def wait_forever() -> None:
    while True:
        time.sleep(60)
