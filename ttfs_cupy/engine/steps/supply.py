"""Where a step's batch comes from: sent by the host, or made on the device, of a set that lies there."""

from typing import Protocol

import numpy as np

from ttfs_cupy.data import MixedLabels
from ttfs_cupy.data.production import Production
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.feed import Feed, Layout
from ttfs_cupy.engine.layers import Shape
from ttfs_cupy.engine.validity import Labels


class Supply(Protocol):
    """A batch for each step, always in the same arrays of the device."""

    @property
    def images(self) -> int:
        """How many the batch at hand has, at all ranks together."""

    @property
    def rows(self) -> int:
        """How many of them make() returns."""

    @property
    def is_mixed(self) -> bool:
        """Whether its labels are MixedLabels."""

    @property
    def is_at_hand(self) -> bool:
        """Whether there is a batch that can be worked on."""

    def take(self) -> None:
        """What is to be done for the batch before its launches are recorded, or replayed."""

    def make(self) -> tuple[Array, Labels]:
        """Inputs and labels, by launches only."""

    def inputs(self) -> Array:
        """Those that make() returns."""


class Sent:
    """Batches that the host sends, each worked on as often as one likes. On a GPU they are copied while the step before
    computes."""

    is_at_hand = True

    def __init__(self, device: Device, batch_size: int, shape: Shape):
        self._device = device
        # labels and others of MixedLabels, and shares; a batch of plain labels fills the first of these
        of_labels: list[Layout] = [((batch_size,), dtype) for dtype in (np.int32, np.int32, np.float32)]
        streams = device.streams
        self._feed = Feed(device, streams, [((batch_size, *shape), np.float32), *of_labels]) if streams else None
        self.images, self.rows, self.is_mixed = 0, 0, False

    def send(self, inputs: np.ndarray, labels: np.ndarray | MixedLabels, images: int) -> None:
        self.images, self.rows, self.is_mixed = images, len(inputs), isinstance(labels, MixedLabels)
        given = (inputs, *labels.arrays) if isinstance(labels, MixedLabels) else (inputs, labels)
        if self._feed is not None:
            with self._device.alone():
                self._feed.send(*given)
        else:
            self._arrays = [self._device.to_device(array) for array in given]

    def take(self) -> None:
        if self._feed is not None:
            self._arrays = self._feed.take()

    def make(self) -> tuple[Array, Labels]:
        inputs, *labels = self._arrays
        return inputs, MixedLabels(*labels) if self.is_mixed else labels[0]

    def inputs(self) -> Array:
        return self._arrays[0]


class Made:
    """Batches that are made on the device: those of an epoch in their order, each once, since it is the device that
    counts them. begun: how many epochs were begun; only the last one goes on."""

    def __init__(self, production: Production):
        self.production = production
        self.images, self.is_mixed = 0, production.mixes
        self.is_at_hand, self.begun, self.is_kept = False, 0, True

    @property
    def rows(self) -> int:
        return self.production.count(self.images)

    def begin(self, epoch: int, passed: int = 0) -> int:
        """Begins an epoch, of which so many images are passed over, and gives its number among those begun. Raises
        ValueError after end()."""
        self._require_kept()
        with self.production.alone():
            self.production.begin(epoch)
            if passed:
                self.production.skip(passed)
        self.is_at_hand = False
        self.begun += 1
        return self.begun

    def end(self) -> None:
        """No epoch goes on, and no batch is left: the step keeps these no longer."""
        self.is_kept = self.is_at_hand = False

    def _require_kept(self) -> None:
        if not self.is_kept:
            raise ValueError("a step keeps few sets, and others were used since: begin this epoch anew")

    def send(self, begun: int, number: int, images: int) -> None:
        """Raises ValueError for a batch that is not the next one of the epoch at hand."""
        self._require_kept()
        if begun != self.begun:
            raise ValueError("another epoch of these batches has begun: this one cannot go on")
        if self.is_at_hand:
            raise ValueError("a batch was left out: run() each one before the next")
        self.production.send(number)
        self.images, self.is_at_hand = images, True

    def take(self) -> None:
        self.is_at_hand = False
        self.production.take()

    def make(self) -> tuple[Array, Labels]:
        return self.production.make(self.images)

    def inputs(self) -> Array:
        return self.production.inputs(self.images)
