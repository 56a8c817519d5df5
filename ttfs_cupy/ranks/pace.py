"""When the ranks of a run decide together what depends on time or on signals."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from ttfs_cupy.common.command.interruption import Wishes
from ttfs_cupy.ranks.group import Group


@dataclass(frozen=True)
class Decision:
    """Of rank 0, the same at all ranks. end, save: a signal at any rank asks for it; due: it is time for a checkpoint."""

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

    def __init__(self, group: Group, wishes: Wishes, clock: Callable[[], float] = time.monotonic): ...

    def after_step(self, *, due: bool) -> Decision | None:
        """Called by all ranks after each step; None where this is no decision point. due counts at rank 0 only."""

    def decide(self, *, due: bool = False) -> Decision:
        """A decision point between steps, such as an epoch's end, at all ranks."""
