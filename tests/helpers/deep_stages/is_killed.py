"""Is killed from outside, as by a system that runs out of memory, in the middle of a line of its records."""

import os
import signal

from helpers.deep_stages.fine import Figure
from ttfs_cupy.check.deep.notes import Notes, file_of


def run(notes: Notes, device: str) -> None:
    notes.record(Figure("before", 1.0))
    with file_of(notes.folder, "is_killed").open("a") as file:
        file.write('{"record": "Fig')
    notes.say("about to be killed")
    os.kill(os.getpid(), signal.SIGKILL)
