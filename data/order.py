"""Which images an epoch consists of, and in which order."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_choice

from .seeds import Stream, generator

SAMPLINGS = ("plain", "balanced")


class Order(NamedTuple):
    """An epoch. images: int32 (N,), one after the other. occurrences: int32 (N,), how often each came before in it."""

    images: NDArray[np.int32]
    occurrences: NDArray[np.int32]


def order(
    labels: NDArray[np.int32], members: NDArray[np.integer[Any]], seed: int, epoch: int, sampling: str = "plain"
) -> Order:
    """An epoch over the images `members`, integers (N,), of a set whose labels are int32 (M,): always N places.

    sampling: plain, every image once; or balanced, every class as often. Of K classes with images each has N // K
    places, and N % K of them, drawn anew each epoch, one more; their images come in rounds, each a permutation of its
    own, so that none comes twice before all of its class did.

    A function of seed and epoch alone. Raises UserError for another sampling, and for a negative seed.
    """
    check_choice("sampling", sampling, SAMPLINGS)
    every = np.asarray(members, np.int32)
    draw = generator(seed, Stream.ORDER, epoch)
    if sampling == "plain" or not len(every):
        return Order(every[draw.permutation(np.arange(len(every)))], np.zeros(len(every), np.int32))
    return _balanced(labels[every], every, draw)


def _balanced(labels: NDArray[np.int32], members: NDArray[np.int32], draw: np.random.Generator) -> Order:
    """labels: the members' own."""
    classes, counts = np.unique(labels, return_counts=True)
    places = np.full(len(classes), len(members) // len(classes))
    places[draw.permutation(len(classes))[: len(members) % len(classes)]] += 1
    # whose turn it is at each place of the epoch
    turns = draw.permutation(np.repeat(np.arange(len(classes)), places))
    images, occurrences = np.empty_like(members), np.empty_like(members)
    for number, (label, count, wanted) in enumerate(zip(classes, counts, places, strict=True)):
        own = members[labels == label]
        rounds = [draw.permutation(own) for _ in range(-(-wanted // count))]
        at = turns == number
        images[at] = np.concatenate([own[:0], *rounds])[:wanted]
        occurrences[at] = np.arange(wanted) // count
    return Order(images, occurrences)
