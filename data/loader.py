"""Batches of encoded images, prepared ahead by a thread."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError

from .augmentation import Augmentation, unchanged
from .images import ImageSet
from .seeds import Stream, generator

THREAD_NAME = "ttfs-batches"

Encode = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class Batch(NamedTuple):
    """inputs: float32, C-contiguous, what `encode` made of B images. labels: int32 (B,)."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int32]


class Batches:
    """The batches of each epoch over `images`; the last one is smaller if the count is no multiple.

    encode: takes float32 (B, H, W, C) in [0, 1], which it may overwrite, and returns the network's input.
    shuffle: a new order every epoch. augment: one of `AUGMENTATIONS`, or a function like them.
    prefetch: how many batches a thread prepares ahead; 0: no thread.

    Order and augmentation depend on the seed, the epoch and the batch's number only, so that a resumed run
    goes on as if it had never stopped. Raises UserError for a batch size below 1 or above the number of
    images, a negative `prefetch` or seed, and for augmenting images whose pixels do not reach 255.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        encode: Encode,
        shuffle: bool = False,
        seed: int = 0,
        augment: Augmentation | None = None,
        prefetch: int = 2,
    ) -> None:
        _check(len(images), batch_size, seed, prefetch)
        augment = None if augment is unchanged else augment
        if augment is not None and images.maximum != 255:
            raise UserError(
                f"augmentations are made for pixels of 0..255, these images have 0..{images.maximum}: "
                "set the augmentation to none"
            )
        self.images = images
        self.batch_size = batch_size
        self.encode = encode
        self.shuffle = shuffle
        self.seed = seed
        self.augment = augment
        self.prefetch = prefetch

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def epoch(self, index: int) -> Generator[Batch, None, None]:
        """The batches of epoch `index`, from 0.

        An exception in the thread is raised here. The thread ends with the iterator: exhausted, closed, or no
        longer referred to, as after `break`.
        """
        if index < 0:
            raise UserError(f"epochs count from 0, there is none {index}")
        order = self._order(index)
        return self._one_by_one(index, order) if self.prefetch == 0 else self._ahead(index, order)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """The images' indices in this epoch's order, int64 (N,)."""
        order = np.arange(len(self.images))
        return generator(self.seed, Stream.ORDER, epoch).permutation(order) if self.shuffle else order

    def _one_by_one(self, epoch: int, order: NDArray[np.int64]) -> Generator[Batch, None, None]:
        for number in range(len(self)):
            yield self._prepare(epoch, number, order)

    def _ahead(self, epoch: int, order: NDArray[np.int64]) -> Generator[Batch, None, None]:
        """The same, `prefetch` batches under preparation or ready while the consumer has one."""
        executor = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
        pending: deque[Future[Batch]] = deque()
        try:
            for number in range(len(self)):
                pending.append(executor.submit(self._prepare, epoch, number, order))
                if len(pending) > self.prefetch:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            # also after break, an error or Ctrl-C: at most the one batch in the making is waited for
            executor.shutdown(wait=True, cancel_futures=True)

    def _prepare(self, epoch: int, number: int, order: NDArray[np.int64]) -> Batch:
        """Batch `number` of the epoch: pick, augment, scale to [0, 1], encode."""
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        pixels = self.images.images[chosen]
        if self.augment is not None:
            pixels = self.augment(pixels, generator(self.seed, Stream.AUGMENTATION, epoch, number))
        scaled = pixels.astype(np.float32)
        scaled /= np.float32(self.images.maximum)
        inputs = np.ascontiguousarray(self.encode(scaled), dtype=np.float32)
        return Batch(inputs, self.images.labels[chosen])


def _check(count: int, batch_size: int, seed: int, prefetch: int) -> None:
    if batch_size < 1:
        raise UserError(f"the batch size must be at least 1, not {batch_size}")
    if batch_size > count:
        raise UserError(f"a batch of {batch_size} is larger than the data, {count} images: lower batch_size")
    if seed < 0:
        raise UserError(f"the seed must be 0 or more, not {seed}")
    if prefetch < 0:
        raise UserError(f"prefetch must be 0 or more batches, not {prefetch}")
