"""Rows of a table as lines of text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, left: int, gap: str = "  ") -> list[str]:
    """A line for each row. The cells of the first `left` columns stand to the left, the others to the right.

    All rows have the same number of cells.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        gap.join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
