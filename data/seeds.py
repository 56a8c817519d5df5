"""Every random draw on data is a function of the run's seed and of what is drawn, never of what came before.

So a run that stops after some epoch and resumes draws as if it had never stopped.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from ttfs_cupy.common.errors import UserError


class Stream(IntEnum):
    """What is drawn. The numbers are part of what a seed means: do not renumber them."""

    SPLIT = 0
    ORDER = 1
    AUGMENTATION = 2
    SUBSET = 3


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """The generator of one draw: `position` is the epoch, and the batch in it, or nothing.

    A spawn key and not a list of numbers as entropy: there, trailing zeros do not count, so that
    [seed, 0] and [seed, 0, 0] would draw the same. Raises UserError for a negative seed.
    """
    if seed < 0:
        raise UserError(f"the seed must be 0 or more, not {seed}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream, *position))))
