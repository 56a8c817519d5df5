"""When the ranks of a run decide together what depends on time or on signals."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ttfs_cupy.common.command.interruption import Wishes
from ttfs_cupy.ranks.group import Group

# between two decision points, at the pace of the steps before
SECONDS = 0.2


@dataclass(frozen=True)
class Decision:
    """Rank 0's, for all ranks. end, save: a signal at any rank asks for it; due: it is time for a checkpoint."""

    end: bool = False
    save: bool = False
    due: bool = False


class Pace:
    """Decision points of a loop of steps.

    With one process each step is one. With several they are some tenths of a second apart, counted in steps, which rank
    0 tells with each decision; in between nobody exchanges anything, and wishes wait.

    wishes: what signals ask of this process. At ranks > 0 they travel to rank 0 at the next step; rank 0 takes them for
    its own, so that its `wishes` hold what any rank was asked. A decision to save clears to_save.
    """

    def __init__(self, group: Group, wishes: Wishes, clock: Callable[[], float] = time.monotonic):
        self._group, self._wishes, self._clock = group, wishes, clock
        # steps until the next decision point, and since the last one, which was then
        self._left, self._steps, self._at = 1, 0, clock()
        self._has_wished = self._is_due = False

    def after_step(self, *, due: bool) -> Decision | None:
        """Called by all ranks after each step; None where this is no decision point. due: of rank 0, and until the next
        point."""
        self._steps += 1
        self._left -= 1
        self._is_due |= due
        if self._left == 0:
            return self.decide()
        self._pass_on()
        return None

    def decide(self) -> Decision:
        """A decision point between steps, such as an epoch's end, at all ranks."""
        self._pass_on()
        group, wishes, due = self._group, self._wishes, self._is_due
        self._is_due = False
        if group.size == 1:
            decision = Decision(wishes.to_end, wishes.to_save, due)
        else:
            wished = group.take_wishes()
            wishes.to_end |= wished.end
            wishes.to_save |= wished.save
            said = [wishes.to_end, wishes.to_save, due, self._until_next()] if group.rank == 0 else None
            *decided, self._left = group.broadcast(said)
            decision = Decision(*decided)
        self._left = max(self._left, 1)
        if decision.save:
            wishes.to_save = False
        return decision

    def _pass_on(self) -> None:
        """To rank 0, what this rank was asked for."""
        wishes = self._wishes
        if self._group.rank == 0:
            return
        if wishes.to_save or (wishes.to_end and not self._has_wished):
            self._group.wish(end=wishes.to_end, save=wishes.to_save)
            self._has_wished |= wishes.to_end
            wishes.to_save = False

    def _until_next(self) -> int:
        """The steps that take SECONDS, as those since the last point did."""
        now, steps = self._clock(), self._steps
        seconds, self._at, self._steps = now - self._at, now, 0
        if not steps or seconds <= 0:
            return 1
        # at most twice as many as before: the first steps of a run, and those after a pause, tell little
        return max(1, min(2 * steps, int(SECONDS * steps / seconds)))
