"""Prints, and records, more than a report may hold."""

from helpers.deep_stages.fine import Figure
from ttfs_cupy.check.deep.notes import Notes


def run(notes: Notes, device: str) -> None:
    for number in range(2_000):
        print(f"line {number} of many that nobody reads")
        notes.record(Figure(f"a long name {'x' * 200}", number))
    notes.found("came to its end")
