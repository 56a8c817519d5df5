"""Which images an epoch consists of, in which order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .seeds import Stream, generator


class Order(NamedTuple):
    """images: int32 (N,), their indices. occurrences: int32 (N,), how often an image came before in this epoch."""

    images: NDArray[np.int32]
    occurrences: NDArray[np.int32]


def order(
    labels: NDArray[np.int32], members: NDArray[np.integer], seed: int, epoch: int, sampling: str | None = None
) -> Order:
    """A permutation of the members."""
    permuted = generator(seed, Stream.ORDER, epoch).permutation(np.arange(len(members)))
    images = members[permuted].astype(np.int32)
    return Order(images, np.zeros_like(images))
