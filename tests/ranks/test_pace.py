"""Decision points, by a clock that the test moves."""

import signal
from itertools import pairwise
from typing import Any, cast

import pytest
from helpers.signals import usual_signals

from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.command.interruption import Wishes
from ttfs_cupy.ranks.group import ALONE, Group, Wished
from ttfs_cupy.ranks.pace import Decision, Pace


class Recorded:
    """Rank 0 of two, whose broadcasts another rank hears later; and that other rank."""

    size = 2

    def __init__(self, rank: int, said: list[Any]):
        self.rank, self._said, self._read = rank, said, 0
        self.wished: list[tuple[int, bool]] = []
        self.coming = Wished()
        # what the other rank is asked for as all wait for one another
        self.theirs: list[Any] = [0, False]

    def broadcast(self, value: Any = None) -> Any:
        if self.rank == 0:
            self._said.append(value)
            return value
        self._read += 1
        return self._said[self._read - 1]

    def gather(self, value: Any) -> list[Any]:
        return [value, self.theirs] if self.rank == 0 else [self.theirs, value]

    def wish(self, *, end: int = 0, save: bool = False) -> None:
        self.wished.append((end, save))

    def take_wishes(self) -> Wished:
        coming, self.coming = self.coming, Wished(self.coming.end)
        return coming


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Two:
    """Two ranks that go step by step, rank 0 first."""

    def __init__(self) -> None:
        said: list[Any] = []
        self.clock = Clock()
        self.groups = [Recorded(rank, said) for rank in range(2)]
        self.wishes = [Wishes(), Wishes()]
        self.paces = [
            Pace(cast(Group, group), wishes, self.clock) for group, wishes in zip(self.groups, self.wishes, strict=True)
        ]

    def step(self, seconds: float, due: bool = False) -> Decision | None:
        """Both ranks must come to the same; only rank 0 knows the time."""
        self.clock.now += seconds
        first, second = self.paces[0].after_step(due=due), self.paces[1].after_step(due=False)
        assert first == second
        return first

    def points(self, steps: int, seconds: float) -> list[int]:
        return [number for number in range(steps) if self.step(seconds) is not None]


def test_alone_each_step_is_a_decision_point() -> None:
    wishes = Wishes()
    pace = Pace(ALONE, wishes)
    assert pace.after_step(due=False) == Decision()
    assert pace.after_step(due=True) == Decision(due=True)
    wishes.to_save = True
    assert pace.after_step(due=False) == Decision(save=True)
    assert not wishes.to_save
    wishes.to_end = True
    assert pace.decide() == Decision(end=True)


def test_points_come_to_be_a_fifth_of_a_second_apart() -> None:
    points = Two().points(400, seconds=0.002)
    gaps = [after - before for before, after in pairwise(points)]
    # as many steps as 0.2 s have, or, where 0.2 s / 0.002 s is rounded down, one less
    assert set(gaps[-2:]) <= {99, 100}
    assert gaps[:5] == [2, 4, 8, 16, 32]


@pytest.mark.parametrize("seconds", [0.2, 0.5, 60.0])
def test_long_steps_are_points_each(seconds: float) -> None:
    assert Two().points(20, seconds) == list(range(20))


def test_steps_that_grow_slow_are_fewer_between_points() -> None:
    two = Two()
    two.points(400, seconds=0.002)
    points = two.points(200, seconds=0.1)
    assert points[-1] - points[-2] <= 2


def test_a_clock_that_stands_still_makes_each_step_a_point() -> None:
    assert Two().points(5, seconds=0.0) == list(range(5))


def test_another_ranks_signals_are_rank_0s_decisions() -> None:
    two = Two()
    two.points(100, seconds=0.002)
    two.wishes[1].to_save = True
    # it has passed on what it was asked, once
    two.step(0.002)
    assert (two.groups[1].wished, two.wishes[1].to_save) == ([(False, True)], False)
    two.groups[0].coming = Wished(save=True)
    decisions = [decision for _ in range(300) if (decision := two.step(0.002))]
    assert [decision.save for decision in decisions] == [True] + [False] * (len(decisions) - 1)
    assert two.groups[1].wished == [(False, True)]


def test_a_wish_to_end_is_passed_on_once_and_stays() -> None:
    two = Two()
    two.wishes[1].to_end = True
    two.points(10, seconds=0.002)
    assert (two.groups[1].wished, two.wishes[1].to_end) == ([(signal.SIGINT, False)], True)
    two.groups[0].coming = Wished(end=signal.SIGINT)
    decisions = [decision for _ in range(100) if (decision := two.step(0.002))]
    assert decisions[0].end
    # as of a signal of its own
    assert two.wishes[0].to_end


def test_a_moment_that_is_due_waits_for_the_next_point() -> None:
    two = Two()
    two.points(100, seconds=0.002)
    assert two.step(0.002, due=True) is None
    decisions = [decision for _ in range(300) if (decision := two.step(0.002))]
    assert [decision.due for decision in decisions] == [True] + [False] * (len(decisions) - 1)


def test_a_point_between_steps_counts_anew() -> None:
    two = Two()
    two.points(250, seconds=0.002)
    assert two.paces[0].decide() == two.paces[1].decide() == Decision()
    # the next steps may be much longer
    assert two.step(0.002) == Decision()
    # the two ranks still agree on where the next one is
    assert two.points(400, seconds=0.002)


@pytest.mark.parametrize("asked", [[signal.SIGTERM, False], [0, True]])
def test_a_point_between_steps_answers_what_any_rank_was_asked_until_then(asked: list[Any]) -> None:
    """Also what is still on its way with the pulse, or was asked since this rank's last step."""
    two = Two()
    two.points(250, seconds=0.002)
    two.groups[0].theirs, two.wishes[1].to_save = asked, asked[1]
    decision = two.paces[0].decide()
    assert (decision.end, decision.save) == (bool(asked[0]), asked[1])
    assert two.paces[1].decide() == decision
    # it is not asked once more
    two.groups[0].theirs = [0, False]
    assert (two.groups[1].wished, two.wishes[1].to_save) == ([], False)
    assert two.paces[0].decide().save is two.paces[1].decide().save is False


def test_where_nothing_can_be_saved_a_wish_to_save_waits() -> None:
    two = Two()
    two.groups[0].coming = Wished(save=True)
    for _ in range(100):
        two.clock.now += 0.002
        assert [pace.after_batch() for pace in two.paces] == [False, False]
    assert two.paces[0].decide() == two.paces[1].decide() == Decision(save=True)
    two.groups[0].coming = Wished(end=signal.SIGTERM)
    two.step(0.5)
    two.clock.now += 0.5
    assert [pace.after_batch() for pace in two.paces] == [True, True]


def test_another_ranks_signal_is_that_of_the_exit_code() -> None:
    """Unless rank 0 has got one before; its own first one, later, still has it end in order."""
    interruptions = interruption.Interruptions()
    with usual_signals():
        interruptions.install()
        try:
            two = Two()
            two.groups[0].coming = Wished(end=signal.SIGTERM)
            assert two.paces[0].decide().end and interruption.number() == signal.SIGTERM
            interruptions.wishes = two.wishes[0]
            signal.raise_signal(signal.SIGINT)
            two.groups[0].coming = Wished(end=signal.SIGTERM)
            assert two.paces[0].decide().end and interruption.number() == signal.SIGINT
        finally:
            interruptions.remove(process_ends=False)
