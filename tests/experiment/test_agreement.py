"""What the ranks of a run do one after the other, and how one's end by a signal is that of all."""

import signal
import threading
from typing import Any

import pytest
from helpers.ranks import OneOf, of_each_rank

from ttfs_cupy.common.command import interruption
from ttfs_cupy.experiment.agreement import in_turns, interrupted_together
from ttfs_cupy.ranks.place import Place


class Waiting(OneOf):
    """Of 5 ranks, of which 0 to 2 are on one machine, 3 and 4 on another; `gather` has all wait for one another."""

    def __init__(self, rank: int, barrier: threading.Barrier):
        super().__init__(rank, 5)
        self.place = Place(rank, 5, rank % 3, 3 if rank < 3 else 2)
        self._barrier = barrier

    def gather(self, value: Any) -> list[Any]:
        self._barrier.wait()
        return [value] * 5


def test_rank_0_fetches_then_one_of_each_other_machine_then_all() -> None:
    barrier, began, is_there = threading.Barrier(5, timeout=20), list[int](), set[int]()

    def work(rank: int) -> None:
        def fetch() -> None:
            began.append(rank)
            needed = set() if rank == 0 else {0} if rank == 3 else {0, 3}
            assert needed <= is_there
            is_there.add(rank)

        in_turns(Waiting(rank, barrier), fetch)

    of_each_rank(5, work)
    assert began[:2] == [0, 3] and sorted(began[2:]) == [1, 2, 4]


@pytest.mark.parametrize("by", [0, signal.SIGTERM])
def test_a_signal_that_has_ended_another_rank_is_an_interruption(by: int) -> None:
    interruptions, group = interruption.Interruptions(), OneOf(0, 2)
    group.interrupted_by = by
    interruptions.install()
    try:
        with pytest.raises(KeyboardInterrupt if by else ValueError), interrupted_together(group):
            raise ValueError("what follows from the loss")
        assert interruption.number() == (by or signal.SIGINT)
    finally:
        interruptions.remove(process_ends=False)
