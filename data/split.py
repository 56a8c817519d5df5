"""Which training images are held out for validation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError

from .seeds import Stream, generator


def split(count: int, share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide `count` images into training and validation indices, int64, each sorted, together all of them.

    round(share * count) images, drawn by the seed, are for validation; none with a share of 0.
    Raises UserError for a share outside [0, 1), and if one of the two would be empty though share > 0.
    """
    if not 0 <= share < 1:
        raise UserError(f"the validation share must be at least 0 and less than 1, not {share}")
    held_out = round(share * count)
    if share > 0 and count == 0:
        raise UserError("there are no images to divide into training and validation")
    if share > 0 and held_out == 0:
        raise UserError(
            f"a validation share of {share} of {count} images is none at all: it must be at least {1 / count:.2g}, "
            "which is one image"
        )
    if share > 0 and held_out == count:
        raise UserError(f"a validation share of {share} of {count} images leaves none for training: lower it")
    order = generator(seed, Stream.SPLIT).permutation(count).astype(np.int64)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
