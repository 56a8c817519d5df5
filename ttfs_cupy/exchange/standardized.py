"""Weights that follow from raw weights and gains, as a checkpoint of a standardised network has them."""

from collections.abc import Mapping

import numpy as np

from ttfs_cupy.engine.standardization import SMALLEST_SQUARES

RAW, GAIN = ".v", ".g"


def plain_weights(trained: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """State by name with NAME.weight in place of NAME.v and NAME.g (docs/model.md, "Standardised weights").

    Computed in float64 and rounded once: a network's own kernel may round the last bit otherwise.
    """
    plain = {}
    for name, array in trained.items():
        stem, gain = name.removesuffix(RAW), trained.get(name.removesuffix(RAW) + GAIN)
        if name.endswith(RAW) and gain is not None and gain.shape == array.shape[:1]:
            rows = array.reshape(len(array), -1).astype(np.float64)
            centred = rows - rows.mean(axis=1, keepdims=True)
            norms = np.sqrt((centred**2).sum(axis=1, keepdims=True) + SMALLEST_SQUARES)
            weights = gain.astype(np.float64)[:, np.newaxis] * centred / norms
            plain[f"{stem}.weight"] = weights.astype(np.float32).reshape(array.shape)
        elif not (name.endswith(GAIN) and name.removesuffix(GAIN) + RAW in trained):
            plain[name] = array
    return plain
