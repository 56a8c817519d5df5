"""The ranks of a run as threads of one process: what they tell one another needs no wire."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import numpy as np

from ttfs_cupy.ranks.group import Alone

Result = TypeVar("Result")

# Within which all ranks come to an exchange, or one of them has failed
SECONDS = 60


class RankAsThread(Alone):
    """One of `size` ranks, of which each has such an object with the same board and barrier. Its sums are those of a
    Group; whatever else it is asked for it answers as if it were alone."""

    def __init__(self, rank: int, size: int, board: list[np.ndarray], barrier: Barrier):
        self.rank, self.size = rank, size
        self._board, self._barrier = board, barrier

    def sum(self, values: np.ndarray) -> np.ndarray:
        assert values.dtype in (np.int64, np.float64)
        self._board[self.rank] = values.copy()
        self._barrier.wait(SECONDS)
        assert len({(array.shape, array.dtype) for array in self._board}) == 1
        total = sum(self._board[1:], start=self._board[0])
        # nobody puts up the next value before all have read this one
        self._barrier.wait(SECONDS)
        return total


def together(size: int, body: Callable[[RankAsThread], Result]) -> list[Result]:
    """What the ranks' bodies return, by rank, which run side by side."""
    board, barrier = [np.empty(0)] * size, Barrier(size)

    def run(rank: int) -> Result:
        try:
            return body(RankAsThread(rank, size, board, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(run, range(size)))
