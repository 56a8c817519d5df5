"""When the ranks of a run decide together what depends on time or on signals."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.command.interruption import Wishes
from ttfs_cupy.ranks.group import Group, Wished

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
        self._pass_on()
        return self._decided(self._until_next) if self._left == 0 else None

    def after_batch(self) -> bool:
        """As after_step, of a batch that takes no step, nor longer than one, and where nothing can be saved: whether to
        end. A wish to save waits. No exchange of gradients has the ranks go at one speed here, so they wait for one
        another at each point."""
        self._steps += 1
        self._left -= 1
        if self._left:
            self._pass_on()
            return False
        self._hear_all()
        decision = self._decided(self._until_next)
        if decision.save and self._group.rank == 0:
            self._wishes.to_save = True
        return decision.end

    def decide(self) -> Decision:
        """A decision point between steps, such as an epoch's end, at all ranks, which wait for one another: what any
        was asked for until here is answered here. The next step, which may be of another length, ends in a point."""
        self._hear_all()
        self._at, self._steps = self._clock(), 0
        return self._decided(lambda: 1)

    def _decided(self, until_next: Callable[[], int]) -> Decision:
        group, wishes, due = self._group, self._wishes, self._is_due
        self._is_due = False
        if group.size == 1:
            decision, self._left = Decision(wishes.to_end, wishes.to_save, due), 1
        else:
            self._take(group.take_wishes())
            said = [wishes.to_end, wishes.to_save, due, until_next()] if group.rank == 0 else None
            *decided, self._left = group.broadcast(said)
            decision = Decision(*decided)
        if decision.save:
            wishes.to_save = False
        return decision

    def _hear_all(self) -> None:
        """Waits for all ranks, and has rank 0 take what each was asked for."""
        asked = [self._signal(), self._wishes.to_save]
        if self._group.rank:
            self._wishes.to_save = False
        for end, save in self._group.gather(asked)[1:]:
            self._take(Wished(end, save))

    def _take(self, wished: Wished) -> None:
        """At rank 0: what another rank was asked for."""
        if self._group.rank:
            return
        wishes = self._wishes
        if wished.end and not wishes.to_end:
            wishes.to_end = True
            interruption.of_another_process(wished.end)
        wishes.to_save |= wished.save

    def _pass_on(self) -> None:
        """To rank 0, what this rank was asked for."""
        wishes = self._wishes
        if self._group.rank == 0:
            return
        if wishes.to_save or (wishes.to_end and not self._has_wished):
            self._group.wish(end=self._signal(), save=wishes.to_save)
            self._has_wished |= wishes.to_end
            wishes.to_save = False

    def _signal(self) -> int:
        """The one that asks this process to end, or 0."""
        return interruption.number() if self._wishes.to_end else 0

    def _until_next(self) -> int:
        """The steps that take SECONDS, as those since the last point did."""
        now, steps = self._clock(), self._steps
        seconds, self._at, self._steps = now - self._at, now, 0
        if not steps or seconds <= 0:
            return 1
        # at most twice as many as before: the first steps of a run, and those after a pause, tell little
        return max(1, min(2 * steps, int(SECONDS * steps / seconds)))
