"""Cannot go on."""

from helpers.deep_stages.fine import Figure
from ttfs_cupy.check.deep.notes import Notes


def run(notes: Notes, device: str) -> None:
    notes.record(Figure("before", 1.0))
    raise RuntimeError("out of order")
