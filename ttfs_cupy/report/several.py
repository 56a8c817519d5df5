"""The page of several runs, side by side."""

from collections.abc import Sequence

from ttfs_cupy.report.reading import RunFiles


def page(runs: Sequence[RunFiles]) -> tuple[bytes, list[str]]:
    raise NotImplementedError
