"""scikit-learn's bundled 8x8 digits: nothing to download, small enough to learn on in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.packages import imported
from ttfs_cupy.data.sources.raw import DIGITS, Raw

PACKAGE = ("scikit-learn, which brings the data set digits,", "pip install 'ttfs-cupy[digits]'")


def read_digits(_root: Path, _download: bool) -> tuple[Raw, Raw]:
    """The 1797 digits as training and test images, pixels 0..16.

    They are published as one set. A fifth of each class is the test set, always the same one whatever a run's
    seed, so that accuracies compare. Raises UserError without scikit-learn.
    """
    bunch = imported("sklearn.datasets", *PACKAGE).load_digits()
    images = bunch.images.astype(np.uint8)[..., np.newaxis]
    every = np.arange(len(images))
    train, test = imported("sklearn.model_selection", *PACKAGE).train_test_split(
        every, test_size=0.2, random_state=0, stratify=bunch.target
    )
    return _raw(images, bunch.target, np.sort(train)), _raw(images, bunch.target, np.sort(test))


def _raw(images: NDArray[np.uint8], labels: NDArray[Any], half: NDArray[Any]) -> Raw:
    return Raw(images[half], labels[half], "scikit-learn's load_digits()", DIGITS)
