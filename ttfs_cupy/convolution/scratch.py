"""Consecutive arrays out of one workspace."""

from ttfs_cupy.device import Array, Stack
from ttfs_cupy.device.parts import parts


class Scratch:
    """Hands out consecutive arrays of a workspace."""

    def __init__(self, workspace: Array, start: int = 0):
        self.workspace = workspace
        self.used = start

    def array(self, *shape: int) -> Array:
        first = self.used
        size = 1
        for length in shape:
            size *= length
        self.used += size
        return self.workspace[first : self.used].reshape(shape)

    def stack(self, down: int, across: int, gap: int, rows: int, columns: int, panel: int = 0) -> Stack:
        """A grid of matrices, `gap` floats apart; in panels of `panel` columns where that is given."""
        width = parts(columns, panel) * panel if panel else columns
        return Stack(self.array(down * across, rows * width + gap), rows, columns, panel, across)
