"""Batches on their way to a GPU: each is copied while the step before it computes."""

from collections.abc import Callable

import numpy as np

from ttfs_cupy.data import MixedLabels
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.streams import Event, Streams
from ttfs_cupy.engine.validity import Labels

# Inputs, float32 (batch, height, width, channels), and what MixedLabels consist of: labels and others, int32 (batch,),
# and shares, float32 (batch,). A batch of plain labels fills the first two.
_Arrays = tuple[Array, ...]


class Feed:
    """Takes up to `batch_size` images of `shape` at a time to fixed arrays.

    The host fills one of two pinned buffers, whose copy arrives in a waiting array. A step begins by taking that over
    into the arrays that it reads, a copy within the device that takes microseconds, and the next batch may arrive. So a
    step always reads the same arrays, and one graph does for all of them; two arrays in turn would need two.
    """

    def __init__(self, device: Device, streams: Streams, batch_size: int, shape: tuple[int, ...]):
        self._streams = streams
        self._buffers = [_Buffer(streams, batch_size, shape) for _ in range(2)]
        self._waiting, self._arrays = (_arrays(device.xp.empty, batch_size, shape) for _ in range(2))
        self._taken = streams.event()
        # the arrays may lie where others lay, which what was launched before still reads
        streams.mark(self._taken)
        self._count, self._filled = 0, 0

    def send(self, inputs: np.ndarray, labels: np.ndarray | MixedLabels) -> None:
        """Enqueues the copies of a batch.

        Waits only while both buffers are on their way: for the copy before the last one.
        """
        given = (inputs, *labels.arrays) if isinstance(labels, MixedLabels) else (inputs, labels)
        self._buffers.reverse()
        buffer, count, filled = self._buffers[0], len(inputs), len(given)
        buffer.copied.synchronize()
        for host, values in zip(buffer.arrays, given, strict=False):
            host[:count] = values
        pairs = self._pairs(buffer.arrays, self._waiting, count, filled)
        self._streams.copy_in(pairs, after=self._taken, done=buffer.copied)
        self._count, self._filled = count, filled

    def take(self) -> tuple[Array, Labels]:
        """Inputs and labels of the batch sent last, inside a step."""
        copied, count, filled = self._buffers[0].copied, self._count, self._filled
        pairs = self._pairs(self._waiting, self._arrays, count, filled)
        self._streams.copy_within(pairs, after=copied, done=self._taken)
        inputs, *labels = (array[:count] for array in self._arrays[:filled])
        return inputs, MixedLabels(*labels) if len(labels) > 1 else labels[0]

    @staticmethod
    def _pairs(sources: _Arrays, targets: _Arrays, count: int, filled: int) -> list[tuple[Array, Array]]:
        """The first `count` images of the first `filled` arrays."""
        pairs = zip(sources[:filled], targets[:filled], strict=True)
        return [(source[:count], target[:count]) for source, target in pairs]


class _Buffer:
    """Pinned arrays for one batch. copied: the last of them has left."""

    def __init__(self, streams: Streams, batch_size: int, shape: tuple[int, ...]):
        self.arrays = _arrays(streams.pinned, batch_size, shape)
        self.copied: Event = streams.event()


def _arrays(empty: Callable[..., Array], batch_size: int, shape: tuple[int, ...]) -> _Arrays:
    types = (np.int32, np.int32, np.float32)
    return empty((batch_size, *shape), np.float32), *(empty((batch_size,), dtype) for dtype in types)
