"""What the training losses of a run's epochs say: nothing is learnt, or less and less."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# By that share of chance a loss has to be below it.
MARGIN = 0.01
# For so many epochs in a row.
PATIENCE = 2

# A loss rises if it did in so many epochs in a row, or if it is that many times its best in the last two; and by that
# share of chance at least: small losses go up and down by as much as they are.
RISES = 3
FACTOR = 1.5
RISE = 0.05


def chance_loss(
    labels: NDArray[np.int32],
    classes: int,
    *,
    class_weights: Sequence[float] | None = None,
    smoothing: float = 0.0,
    sampling: str = "plain",
) -> float:
    """The mean training loss of the best prediction that is the same for every image: log(classes) where all classes
    have as many images, less where not.

    labels: int32 (N,), of the training images. Mixing images in two changes nothing about it, but for class weights.
    """
    counts = np.bincount(labels, minlength=classes).astype(np.float64)
    shares = (counts > 0) / np.count_nonzero(counts) if sampling == "balanced" else counts / counts.sum()
    weighted = shares * (np.ones(classes) if class_weights is None else np.asarray(class_weights, np.float64))
    mean = weighted.sum()
    best = (1 - smoothing) * weighted / mean + smoothing / classes
    return float(-mean * (best * np.log(np.where(best > 0, best, 1))).sum())


def stays_at_chance(losses: Sequence[float], chance: float) -> bool:
    """Whether the last epochs' losses are not below chance. losses: of all epochs so far, the last one last."""
    last = losses[-PATIENCE:]
    return len(last) == PATIENCE and min(last) > (1 - MARGIN) * chance


def rises(losses: Sequence[float], chance: float) -> bool:
    """Whether the loss rises, rather than going up and down. losses: as above, of the same task."""
    least = RISE * chance
    run = losses[-RISES - 1 :]
    in_a_row = len(run) > RISES and all(one < next_ for one, next_ in pairwise(run))
    if in_a_row and run[-1] - run[0] > least:
        return True
    if len(losses) < PATIENCE + 1:
        return False
    best = min(losses[:-PATIENCE])
    return min(losses[-PATIENCE:]) > max(FACTOR * best, best + least)
