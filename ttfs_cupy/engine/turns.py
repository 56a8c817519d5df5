"""Threads take turns with a network: its weights and its buffers are one call's at a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar, cast

from ttfs_cupy.common.machine.forks import renew_in_children
from ttfs_cupy.device import Device


class Turns:
    """Of one network and all that changes its weights. A copy, and a forked child, has turns of its own."""

    def __init__(self, device: Device):
        self._device = device
        self.after_fork()
        renew_in_children(self)

    def after_fork(self) -> None:
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type["Turns"], tuple[Device]]:
        return type(self), (self._device,)

    def take(self) -> AbstractContextManager[Any]:
        """One turn of several calls: waits until no other thread has its turn; within a turn there is no wait. Its GPU
        is the current one meanwhile: CuPy has one for each thread."""
        return self._lock if self._device.gpu is None else self._with(self._device.current)

    def call(self) -> AbstractContextManager[Any]:
        """One call, which has the device's streams and libraries to itself: another network may be on it."""
        return self._lock if self._device.gpu is None else self._with(self._device.alone)

    @contextmanager
    def _with(self, device: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        with self._lock, device():
            yield


class _TakesTurns(Protocol):
    @property
    def turns(self) -> Turns: ...


Method = TypeVar("Method", bound=Callable[..., Any])


def in_turn(method: Method) -> Method:
    """Has the calls of a method wait for one another, and for all else that takes the same turns."""

    @wraps(method)
    def call(self: _TakesTurns, *arguments: Any, **options: Any) -> Any:
        with self.turns.call():
            return method(self, *arguments, **options)

    return cast(Method, call)
