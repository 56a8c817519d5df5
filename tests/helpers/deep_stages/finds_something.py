"""Comes to its end, and has found something wrong."""

from ttfs_cupy.check.deep.notes import Notes


def run(notes: Notes, device: str) -> None:
    notes.found("this is well")
    notes.attention("this is not")
