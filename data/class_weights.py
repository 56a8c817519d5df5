"""What an image counts in the training loss, by its class (docs/model.md, "Classes of uneven size")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError

BALANCED = "balanced"


def class_weights(
    wanted: str | Sequence[float] | None, labels: NDArray[np.int32], classes: int
) -> tuple[float, ...] | None:
    """A weight for each class, None where every image counts the same.

    wanted: None, weights, or "balanced": N / (K n) for a class with n of the N images whose labels, int32 (N,), these
    are, K being the number of classes that have any; so their mean over the images is 1. A class without an image has
    1, which nothing asks for. Raises UserError unless there is a weight for each of the classes.
    """
    if wanted is None:
        return None
    if not isinstance(wanted, str):
        if len(wanted) != classes:
            raise UserError(
                f"data.class_weights has {len(wanted)} weights, and the data {classes} classes: give one for each"
            )
        return tuple(wanted)
    counts = np.bincount(labels, minlength=classes)
    return tuple(len(labels) / (np.count_nonzero(counts) * int(n)) if n else 1.0 for n in counts)
