"""What a forked process must make anew: threads do not come along, and a lock may be held by one of them for ever."""

import os
from typing import Protocol
from weakref import WeakSet


class Forkable(Protocol):
    """Something that holds threads or locks."""

    def after_fork(self) -> None:
        """Makes them anew. Runs in the child, before anything else does."""


_forkable: "WeakSet[Forkable]" = WeakSet()


def renew_in_children(thing: Forkable) -> None:
    """Has its after_fork() called in every process that is forked while it lives."""
    _forkable.add(thing)


def _in_child() -> None:
    for thing in list(_forkable):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
