"""Consecutive arrays out of one workspace, and how work is cut into parts."""

from ttfs_cupy.device import Array, Stack


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


def parts(whole: int, part: int) -> int:
    """How many parts of that length cover the whole."""
    return -(-whole // part)


def part_range(index: int, length: int, end: int) -> tuple[int, int]:
    """First and last (exclusive) of a part."""
    first = index * length
    return first, min(first + length, end)


def parts_of_tree(leaves: int, fan: int) -> int:
    """Of a sum in a tree: its leaves, those of each `fan` of them, and so on, but for the last, which is the sum."""
    return 0 if leaves == 1 else leaves + parts_of_tree(parts(leaves, fan), fan)
