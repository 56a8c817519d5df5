"""Arrays on their way to a GPU: each batch is copied while the step before it computes."""

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ttfs_cupy.device.arrays import Array
from ttfs_cupy.device.interface import Device
from ttfs_cupy.device.streams import Event, Streams

# Of an array, its longest shape and its type
Layout = tuple[tuple[int, ...], type]

_Arrays = tuple[Array, ...]


class Feed:
    """Takes arrays of up to these layouts at a time to fixed arrays on a device.

    The host fills one of two pinned buffers, whose copy arrives in a waiting array. A step begins by taking that over
    into the arrays that it reads, a copy within the device that takes microseconds, and the next batch may arrive. So a
    step always reads the same arrays, and one graph does for all of them; two arrays in turn would need two.
    """

    def __init__(self, device: Device, streams: Streams, layouts: Sequence[Layout]):
        self._streams = streams
        self._buffers = [_Buffer(streams, layouts) for _ in range(2)]
        self._waiting, self._arrays = (_arrays(device.xp.empty, layouts) for _ in range(2))
        self._taken = streams.event()
        # the arrays may lie where others lay, which what was launched before still reads
        streams.mark(self._taken)
        # nor may memory go to others while a copy writes to it
        weakref.finalize(self, _wait, [buffer.copied for buffer in self._buffers], os.getpid()).atexit = False
        self._count, self._filled = 0, 0

    def send(self, *given: np.ndarray) -> None:
        """Enqueues the copies of a batch: all of the same length, for the first so many of the layouts.

        Waits only while both buffers are on their way: for the copy before the last one.
        """
        self._buffers.reverse()
        buffer, count, filled = self._buffers[0], len(given[0]), len(given)
        buffer.copied.synchronize()
        for host, values in zip(buffer.arrays, given, strict=False):
            host[:count] = values
        pairs = self._pairs(buffer.arrays, self._waiting, count, filled)
        self._streams.copy_in(pairs, after=self._taken, done=buffer.copied)
        self._count, self._filled = count, filled

    def take(self) -> list[Array]:
        """The arrays of the batch sent last, inside a step."""
        copied, count, filled = self._buffers[0].copied, self._count, self._filled
        pairs = self._pairs(self._waiting, self._arrays, count, filled)
        self._streams.copy_within(pairs, after=copied, done=self._taken)
        return [array[:count] for array in self._arrays[:filled]]

    @staticmethod
    def _pairs(sources: _Arrays, targets: _Arrays, count: int, filled: int) -> list[tuple[Array, Array]]:
        """The first `count` entries of the first `filled` arrays."""
        pairs = zip(sources[:filled], targets[:filled], strict=True)
        return [(source[:count], target[:count]) for source, target in pairs]


def _wait(copied: list[Event], process: int) -> None:
    # a forked child has nothing of its parent's GPU
    if os.getpid() == process:
        for event in copied:
            event.synchronize()


class _Buffer:
    """Pinned arrays for one batch. copied: the last of them has left."""

    def __init__(self, streams: Streams, layouts: Sequence[Layout]):
        self.arrays = _arrays(streams.pinned, layouts)
        self.copied: Event = streams.event()


def _arrays(empty: Callable[..., Any], layouts: Sequence[Layout]) -> _Arrays:
    return tuple(empty(shape, dtype) for shape, dtype in layouts)
