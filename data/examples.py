"""A few images of a training set, and what its epochs make of them: for people to look at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device

from .batches import Batches
from .mixing import MixedLabels


class Example(NamedTuple):
    """What an epoch makes of an image.

    inputs: float32 (H, W, C), as the network gets them. Of a mixed image `share`, in [0, 1], is of the class `label`,
    and the rest of the class `other`; of all else other is label, and share 1.
    """

    inputs: NDArray[np.float32]
    label: int
    other: int
    share: float


def available(batches: Batches) -> int:
    """How many different images epoch 0 has: with balanced sampling, fewer than there are."""
    return len(np.unique(batches.order(0).images))


def chosen(batches: Batches, count: int) -> NDArray[np.int64]:
    """Indices (count,) of images of epoch 0, sorted by class, of each class as many, as far as it has them.

    They are each class's first ones in that epoch, so the seed draws them. Where not every class gets the same
    number, those that get one more are spread evenly. Raises UserError if the epoch has fewer images.
    """
    images, places = np.unique(batches.order(0).images, return_index=True)
    if check_count("how many images are shown", count) > len(images):
        raise UserError(f"there are {len(images)} training images, fewer than the {count} that are to be shown")
    labels = batches.images.labels[images]
    # of each image, how many of its class come before it
    queue = np.lexsort((places, labels))
    sizes = np.bincount(labels)
    ranks = np.concatenate([np.arange(size) for size in sizes])
    # in rounds, and by class in each
    rounds = np.lexsort((labels[queue], ranks))
    whole = int(np.searchsorted(ranks[rounds], ranks[rounds][count - 1]))
    last = np.flatnonzero(ranks[rounds] == ranks[rounds][whole])
    left = count - whole
    spread = last[np.arange(left) * len(last) // left]
    found = images[queue[rounds[np.concatenate([np.arange(whole), spread])]]]
    return found[np.argsort(batches.images.labels[found], kind="stable")].astype(np.int64)


def in_epoch(batches: Batches, images: NDArray[np.int64], epoch: int, device: Device) -> list[Example | None]:
    """What that epoch makes of each of these images, where it comes first; None where it does not come at all."""
    order = batches.order(epoch).images
    places = [int(found[0]) if len(found := np.flatnonzero(order == image)) else None for image in images]
    numbers = {place // batches.batch_size for place in places if place is not None}
    examples: dict[int, Example] = {}
    for number, batch in zip(sorted(numbers), batches.epoch(epoch, device, numbers), strict=True):
        inputs, labels = device.to_host(batch.inputs), batch.labels
        if isinstance(labels, MixedLabels):
            first, other, share = (device.to_host(array) for array in labels.arrays)
        else:
            first = other = device.to_host(labels)
            share = np.ones(len(first), np.float32)
        for place in places:
            if place is not None and place // batches.batch_size == number:
                row = place % batches.batch_size
                examples[place] = Example(inputs[row], int(first[row]), int(other[row]), float(share[row]))
    return [None if place is None else examples[place] for place in places]
