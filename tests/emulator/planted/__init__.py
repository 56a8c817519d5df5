"""Kernels with a planted bug each, and what the emulator says of it."""

from emulator.planted import accesses, races, waits

BUGS = {**races.BUGS, **accesses.BUGS, **waits.BUGS}
