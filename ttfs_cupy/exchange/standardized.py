"""Weights that follow from raw weights and gains, as a checkpoint of a standardised network has them."""

from dataclasses import replace

import numpy as np

from ttfs_cupy.engine.standardization import SMALLEST_SQUARES
from ttfs_cupy.exchange.weight_file import Stored, WeightFile

RAW, GAIN = ".v", ".g"


def plain_weights(file: WeightFile) -> WeightFile:
    """The file with NAME.weight in place of NAME.v and NAME.g (docs/model.md, "Standardised weights").

    Computed in float64 and rounded once: a network's own kernel may round the last bit otherwise. Raises UserError
    where raw weights or gains are not finite floats.
    """
    by_name = {one.name: one for one in file.tensors}
    plain = []
    for one in file.tensors:
        stem, gain = one.name.removesuffix(RAW), by_name.get(one.name.removesuffix(RAW) + GAIN)
        if one.name.endswith(RAW) and gain is not None and gain.shape == one.shape[:1]:
            plain.append(_stored(f"{stem}.weight", _weights(file.float32(one), file.float32(gain))))
        elif not (one.name.endswith(GAIN) and one.name.removesuffix(GAIN) + RAW in by_name):
            plain.append(one)
    return replace(file, tensors=tuple(plain))


def _stored(name: str, array: np.ndarray) -> Stored:
    return Stored(name, array.shape, str(array.dtype), lambda: array)


def _weights(raw: np.ndarray, gain: np.ndarray) -> np.ndarray:
    rows = raw.reshape(len(raw), -1).astype(np.float64)
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred**2).sum(axis=1, keepdims=True) + SMALLEST_SQUARES)
    weights = gain.astype(np.float64)[:, np.newaxis] * centred / norms
    return weights.astype(np.float32).reshape(raw.shape)
