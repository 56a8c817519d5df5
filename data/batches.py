"""The batches of a set of images, made where the network is."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_choice, check_count, check_flag, check_kind, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Array, Device, get_device
from ttfs_cupy.neuron.encoding import Encoder

from .augmentation import Augmentation, augmentation
from .mixing import MixedLabels, Mixing
from .order import SAMPLINGS, Order, order
from .pixels import HostFunction
from .production import LEVELS, Production
from .share import WHOLE, Share
from .sources.images import ImageSet

# Of the memory that is free on a device, what a set may take
RESIDENT = 0.5


class Batch(NamedTuple):
    """inputs: float32 (B, H, W, C), encoded. labels: int32 (B,), or MixedLabels. Both on the device that made them.
    B may be 0 of a batch with fewer images than ranks share it."""

    inputs: Array
    labels: Array | MixedLabels


class Batches:
    """The batches of each epoch over `images`; the last one is smaller if the count is no multiple.

    encode: a network's encoder.
    members: indices of the images that are meant, integers (M,); None: all of them.
    shuffle: a new order every epoch. sampling: of a shuffled epoch, plain or balanced, as `order` has it.
    augment: an Augmentation, or what augmentation() makes one of; or a function of your own, which is given the batch's
    images, uint8 (B, H, W, C), and a NumPy generator, and returns others like them, of pixels that reach no further. It
    runs on the host, while a GPU computes the batch before.
    mix: makes each image of two.
    resident: the share of a GPU's free memory that the images may take; where they need more, or have more bytes than
    a kernel counts, each batch is copied while the one before is computed, with the same bits.
    share: whose images of each batch are made: those of one rank, where several train one network. All ranks' together
    are the batch. batch_size and sizes are of whole batches, whatever the share.

    What an image becomes depends on the seed, the epoch and its index alone: not on the batch, the device or the number
    of threads. Of a function of your own it also depends on the batch. A resumed run goes on as if it had never
    stopped. Raises UserError for a batch size below 1 or above the number of images, a negative seed, for indices
    outside the set, for an augmentation that needs pixels of 0..255 where they are others, for a function of your own
    where several ranks share batches, and for an encoder of other channels.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        encode: Encoder,
        members: NDArray[np.integer[Any]] | None = None,
        shuffle: bool = False,
        sampling: str = "plain",
        seed: int = 0,
        augment: Augmentation | HostFunction | str | list[Any] | None = None,
        mix: Mixing | None = None,
        resident: float = RESIDENT,
        share: Share = WHOLE,
    ) -> None:
        check_kind("images", images, ImageSet)
        check_kind("encode", encode, Encoder)
        check_kind("share", share, Share)
        if mix is not None:
            check_kind("mix", mix, Mixing)
        self.images = images
        self.encode = encode
        self.members = images.indices(members)
        if len(np.unique(self.members)) != len(self.members):
            raise UserError("members must be different images: one that comes twice would become the same both times")
        self.batch_size = check_count("batch_size", batch_size)
        if self.batch_size > len(self.members):
            raise UserError(
                f"a batch of {batch_size} is larger than the data, {len(self.members)} images: lower batch_size"
            )
        self.shuffle = check_flag("shuffle", shuffle)
        check_choice("sampling", sampling, SAMPLINGS)
        if sampling != "plain" and not shuffle:
            raise UserError(f"sampling {sampling} is of epochs in an order of their own: it needs shuffle=True")
        self.sampling = sampling
        self.seed = check_count("seed", seed, least=0, most=2**64 - 1)
        self.mix = mix
        self.resident = check_number("resident", resident, 0, 1)
        self.share = share
        is_function = callable(augment) and not isinstance(augment, type)
        self.change = cast("HostFunction", augment) if is_function else None
        if is_function and share.ranks > 1:
            raise UserError(
                "a function of your own as augment is given whole batches, and several ranks share them: use an "
                "augmentation by name, or one rank"
            )
        self.augment = augmentation("none" if augment is None or is_function else cast(Any, augment))
        if self.augment.needs_bytes and images.maximum != 255:
            raise UserError(
                f"these augmentations are made for pixels of 0..255, these images have 0..{images.maximum}: "
                "set the augmentation to none, or to one that shifts"
            )
        self.program = self.augment.program(images.images.shape[1:])
        self.code = self._code()

    def __len__(self) -> int:
        """How many batches an epoch has."""
        return math.ceil(len(self.members) / self.batch_size)

    @property
    def labels(self) -> NDArray[np.int32]:
        """Those of the members, int32 (M,)."""
        return self.images.labels[self.members]

    def size(self, number: int) -> int:
        """How many images batch `number`, from 0, has, at all ranks together."""
        return min(self.batch_size, len(self.members) - number * self.batch_size)

    def order(self, epoch: int) -> Order:
        """The images of an epoch, from 0, in their order."""
        if not self.shuffle:
            images = self.members.astype(np.int32)
            return Order(images, np.zeros_like(images))
        return order(self.images.labels, self.members, self.seed, epoch, self.sampling)

    def epoch(self, index: int, device: Device | None = None, only: Collection[int] | None = None) -> Iterator[Batch]:
        """The batches of epoch `index`, from 0, made on `device`, None for the CPU, each with arrays of its own.

        only: the numbers, from 0, of the batches that are wanted, which come in ascending order; None: all of them.
        """
        index = check_count("an epoch's number", index, least=0)
        if isinstance(device, str):
            raise TypeError(f"device must be a network's device, as get_device({device!r})[0], not a text")
        if only is not None:
            check_kind("only", only, Collection)
        wanted = range(len(self)) if only is None else sorted({*only})
        for number in wanted:
            check_count("a batch's number", number, least=0, most=len(self) - 1)
        return self._made(index, get_device("cpu")[0] if device is None else device, wanted)

    def _made(self, epoch: int, device: Device, wanted: Collection[int]) -> Iterator[Batch]:
        production = Production(self, device)
        with production.alone():
            production.begin(epoch)
        following = 0
        for number in wanted:
            with production.alone():
                if number > following:
                    production.skip((number - following) * self.batch_size)
                following = number + 1
                production.send(number)
                production.take()
                inputs, labels = production.make(self.size(number))
                own = (
                    MixedLabels(*(a.copy() for a in labels.arrays))
                    if isinstance(labels, MixedLabels)
                    else labels.copy()
                )
                batch = Batch(inputs.copy(), own)
            yield batch

    def _code(self) -> NDArray[np.float32]:
        """What the encoder makes of each pixel value of each channel, float32 (C, 256)."""
        values = np.arange(LEVELS, dtype=np.float32) / np.float32(self.images.maximum)
        channels, mean = self.images.images.shape[3], self.encode.mean
        if mean is not None and len(mean) not in (1, channels):
            raise UserError(f"encode has a mean and std of {len(mean)} channels, but the images have {channels}")
        encoded = self.encode(np.repeat(values[:, np.newaxis], channels, axis=1))
        return np.ascontiguousarray(encoded.T, dtype=np.float32)
