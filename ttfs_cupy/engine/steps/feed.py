"""Batches on their way to a GPU: each is copied while the step before it computes."""

import numpy as np

from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.streams import Event, Streams

# Inputs, float32 (batch, height, width, channels), and labels, int32 (batch,).
_Pair = tuple[Array, Array]


class Feed:
    """Takes up to `batch_size` images of `shape` at a time to fixed arrays.

    The host fills one of two pinned buffers, whose copy arrives in a waiting array. A step begins by taking that over
    into the arrays that it reads, a copy within the device that takes microseconds, and the next batch may arrive. So a
    step always reads the same arrays, and one graph does for all of them; two arrays in turn would need two.
    """

    def __init__(self, device: Device, streams: Streams, batch_size: int, shape: tuple[int, ...]):
        self._streams = streams
        whole, empty = (batch_size, *shape), device.xp.empty
        self._buffers = [_Buffer(streams, batch_size, shape) for _ in range(2)]
        self._waiting: _Pair = (empty(whole, np.float32), empty(batch_size, np.int32))
        self._arrays: _Pair = (empty(whole, np.float32), empty(batch_size, np.int32))
        self._taken = streams.event()
        # the arrays may lie where others lay, which what was launched before still reads
        streams.mark(self._taken)
        self._count = 0

    def send(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        """Enqueues the copies of a batch.

        Waits only while both buffers are on their way: for the copy before the last one.
        """
        self._buffers.reverse()
        buffer, count = self._buffers[0], len(inputs)
        buffer.copied.synchronize()
        for host, values in zip(buffer.arrays, (inputs, labels), strict=True):
            host[:count] = values
        self._streams.copy_in(self._pairs(buffer.arrays, self._waiting, count), after=self._taken, done=buffer.copied)
        self._count = count

    def take(self) -> _Pair:
        """Inputs and labels of the batch sent last, inside a step."""
        copied, count = self._buffers[0].copied, self._count
        self._streams.copy_within(self._pairs(self._waiting, self._arrays, count), after=copied, done=self._taken)
        inputs, labels = self._arrays
        return inputs[:count], labels[:count]

    @staticmethod
    def _pairs(sources: _Pair, targets: _Pair, count: int) -> list[tuple[Array, Array]]:
        return [(source[:count], target[:count]) for source, target in zip(sources, targets, strict=True)]


class _Buffer:
    """Pinned arrays for one batch. copied: the last of them has left."""

    def __init__(self, streams: Streams, batch_size: int, shape: tuple[int, ...]):
        self.arrays: _Pair = (streams.pinned((batch_size, *shape), np.float32), streams.pinned((batch_size,), np.int32))
        self.copied: Event = streams.event()
