"""Batches of encoded images, prepared ahead by a thread."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_choice, check_count, check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.threads import Task, ThreadPool

from .augmentation import NEED_BYTES, Augmentation, unchanged
from .mixing import Mix, MixedLabels
from .order import SAMPLINGS, order
from .seeds import Stream, generator
from .sources.images import ImageSet

THREAD_NAME = "ttfs-batches"

Encode = Callable[[NDArray[np.float32]], NDArray[np.floating]]


class Batch(NamedTuple):
    """inputs: float32, C-contiguous, what `encode` made of B images. labels: int32 (B,), MixedLabels of mixed ones."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.int32] | MixedLabels


class Batches:
    """The batches of each epoch over `images`; the last one is smaller if the count is no multiple.

    encode: takes float32 (B, H, W, C) in [0, 1], which it may overwrite, and returns the network's input.
    shuffle: a new order every epoch. sampling: of a shuffled epoch, plain or balanced, as `order` has it.
    augment: one of `AUGMENTATIONS`, or a function like them.
    mix: makes each image of two, mixing("mixup") for example, or a function like those.
    prefetch: how many batches a thread prepares ahead; 0: no thread.

    Order, augmentation and mix depend on the seed, the epoch and the batch's number only, so that a resumed run
    goes on as if it had never stopped. Raises UserError for a batch size below 1 or above the number of
    images, a negative `prefetch` or seed, and for an augmentation that needs pixels of 0..255 where they are others.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        encode: Encode,
        shuffle: bool = False,
        sampling: str = "plain",
        seed: int = 0,
        augment: Augmentation | None = None,
        mix: Mix | None = None,
        prefetch: int = 2,
    ) -> None:
        check_kind("images", images, ImageSet)
        if not callable(encode):
            raise UserError(f"encode must be a function, such as a network's encoder, not {type(encode).__name__}")
        for name, function in (("augment", augment), ("mix", mix)):
            if not (function is None or callable(function)):
                raise UserError(f"{name} must be None or a function, not {type(function).__name__}")
        batch_size, seed = check_count("batch_size", batch_size), check_count("seed", seed, least=0, most=2**64 - 1)
        prefetch = check_count("prefetch", prefetch, least=0)
        check_choice("sampling", sampling, SAMPLINGS)
        if sampling != "plain" and not shuffle:
            raise UserError(f"sampling {sampling} is of epochs in an order of their own: it needs shuffle=True")
        if batch_size > len(images):
            raise UserError(f"a batch of {batch_size} is larger than the data, {len(images)} images: lower batch_size")
        augment = None if augment is unchanged else augment
        if any(augment is one for one in NEED_BYTES) and images.maximum != 255:
            raise UserError(
                f"these augmentations are made for pixels of 0..255, these images have 0..{images.maximum}: "
                "set the augmentation to none, or to one that shifts"
            )
        self.images = images
        self.batch_size = batch_size
        self.encode = encode
        self.shuffle = shuffle
        self.sampling = sampling
        self.seed = seed
        self.augment = augment
        self.mix = mix
        self.prefetch = prefetch

    def __len__(self) -> int:
        return math.ceil(len(self.images) / self.batch_size)

    def epoch(self, index: int) -> Generator[Batch, None, None]:
        """The batches of epoch `index`, from 0.

        An exception in the thread is raised here. The thread ends with the iterator: exhausted, closed, or no
        longer referred to, as after `break`.
        """
        index = check_count("an epoch's number", index, least=0)
        order = self._order(index)
        return self._one_by_one(index, order) if self.prefetch == 0 else self._ahead(index, order)

    def _order(self, epoch: int) -> NDArray[np.int32]:
        """The images' indices in this epoch's order, int32 (N,)."""
        every = np.arange(len(self.images), dtype=np.int32)
        return order(self.images.labels, every, self.seed, epoch, self.sampling).images if self.shuffle else every

    def _one_by_one(self, epoch: int, order: NDArray[np.int32]) -> Generator[Batch, None, None]:
        for number in range(len(self)):
            yield self._prepare(epoch, number, order)

    def _ahead(self, epoch: int, order: NDArray[np.int32]) -> Generator[Batch, None, None]:
        """The same, `prefetch` batches under preparation or ready while the consumer has one."""
        pool = ThreadPool(1, THREAD_NAME)
        pending: deque[Task[Batch]] = deque()
        process = os.getpid()
        try:
            for number in range(len(self)):
                pending.append(pool.submit(self._prepare, epoch, number, order))
                if len(pending) > self.prefetch:
                    yield self._next(pending, process)
            while pending:
                yield self._next(pending, process)
        finally:
            # also after break, an error or Ctrl-C: at most the one batch in the making is waited for
            if os.getpid() == process:
                pool.end()

    @staticmethod
    def _next(pending: deque[Task[Batch]], process: int) -> Batch:
        """The batch that was begun first. Raises UserError in a forked process, which has no thread that makes it."""
        if os.getpid() != process:
            raise UserError("an epoch that was begun before this process was forked cannot go on here: begin it anew")
        return pending.popleft().result()

    def _prepare(self, epoch: int, number: int, order: NDArray[np.int32]) -> Batch:
        """Batch `number` of the epoch: pick, augment, scale to [0, 1], mix, encode."""
        chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
        pixels = self.images.images[chosen]
        if self.augment is not None:
            augmented = self.augment(pixels, generator(self.seed, Stream.AUGMENTATION, epoch, number))
            if not _is_like(augmented, pixels.shape, np.uint8):
                raise UserError(f"augment must return what it was given, uint8 {pixels.shape}, {_not(augmented)}")
            if (brightest := int(augmented.max(initial=0))) > self.images.maximum:
                raise UserError(f"augment must return pixels of 0..{self.images.maximum}, not {brightest}")
            pixels = augmented
        scaled = pixels.astype(np.float32)
        scaled /= np.float32(self.images.maximum)
        labels: Any = self.images.labels[chosen]
        if self.mix is not None:
            scaled, labels = self._mixed(scaled, labels, generator(self.seed, Stream.MIX, epoch, number))
        encoded = self.encode(scaled)
        if not (isinstance(encoded, np.ndarray) and encoded.dtype.kind == "f" and encoded.shape[:1] == (len(pixels),)):
            raise UserError(f"encode must return floats of shape ({len(pixels)}, ...), {_not(encoded)}")
        return Batch(np.ascontiguousarray(encoded, dtype=np.float32), labels)

    def _mixed(
        self, scaled: NDArray[np.float32], labels: NDArray[np.int32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], MixedLabels]:
        assert self.mix is not None
        made = self.mix(scaled, labels, rng)
        images, mixed = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not _is_like(images, scaled.shape, np.float32) or not isinstance(mixed, MixedLabels):
            wanted = f"float32 {scaled.shape} and MixedLabels"
            raise UserError(f"mix must return {wanted}, {_not(images)} and {type(mixed).__name__}")
        return images, mixed


def _is_like(array: object, shape: tuple[int, ...], dtype: type) -> bool:
    return isinstance(array, np.ndarray) and array.shape == shape and array.dtype == dtype


def _not(value: object) -> str:
    found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
    return f"not {found}"
