"""scikit-learn's digits, which need no download."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

SHAPE, CLASSES = (1, 8, 8), 10


@cache
def digits() -> tuple[np.ndarray, np.ndarray]:
    """All of them, float32 (N, 1, 8, 8) in [0, 1], and labels, int32, in an order drawn once."""
    pytest.importorskip("sklearn", reason="the digits are scikit-learn's: pip install scikit-learn")
    from ttfs_cupy import load_dataset

    dataset = load_dataset("digits", Path("datasets"))
    sets = dataset.train, dataset.test
    images = np.concatenate([one.images for one in sets]).transpose(0, 3, 1, 2).astype(np.float32)
    labels = np.concatenate([one.labels for one in sets]).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(labels))
    return images[order] / np.float32(dataset.train.maximum), labels[order]
