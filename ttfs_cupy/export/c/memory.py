"""Where activations lie: one array, from whose two ends stages write in turn, as large as the largest pair."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Memory:
    """size: of the array, in elements. places: where in it each activation begins."""

    size: int
    places: tuple[int, ...]


def in_turn(sizes: Sequence[int]) -> Memory:
    """For activations of these sizes, of which each is made from the one before, and then needed no more."""
    size = max(sum(pair) for pair in zip(sizes, [*sizes[1:], 0], strict=True))
    return Memory(size, tuple(0 if index % 2 == 0 else size - own for index, own in enumerate(sizes)))


def elements(shape: Sequence[int]) -> int:
    return int(np.prod(shape))
