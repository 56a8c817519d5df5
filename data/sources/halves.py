"""One set of images as a training and a test half, always the same ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.errors import UserError


def divided(
    labels: NDArray[np.int64], share: float, class_called: Callable[[int], str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The indices of the training and of the test half, int64, sorted.

    Of each class round(share * count) images, but at least one and not all, are for the test. Which ones depends on
    their number alone: neither on a run's seed, so that accuracies compare, nor on the other classes.
    Raises UserError for a class of one image, called as `class_called` says.
    """
    held_out = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (members,) = np.nonzero(labels == label)
        if len(members) < 2:
            raise UserError(f"{class_called(int(label))} holds one image, where training and test need one each")
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held_out[members[np.random.default_rng(0).permutation(len(members))[:count]]] = True
    return np.nonzero(~held_out)[0], np.nonzero(held_out)[0]
