"""What standardised weights compute (docs/model.md, "Standardised weights"), in float64, a layer at a time."""

import numpy as np


def standardized(raw: np.ndarray, gains: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (inputs, neurons) of raw ones of that shape; and each neuron's mean, and 1 / norm, (neurons,)."""
    mean = raw.mean(axis=0)
    inverse = 1 / np.sqrt(len(raw) * raw.var(axis=0) + 1e-4)
    return gains * (raw - mean) * inverse, mean, inverse


def gradients(raw: np.ndarray, gains: np.ndarray, grad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dLoss/d(raw), (inputs, neurons), and dLoss/d(gains), from grad = dLoss/d(weights), by the chain rule."""
    _, mean, inverse = standardized(raw, gains)
    centred = raw - mean
    of_gains = (grad * centred * inverse).sum(axis=0)
    of_unit = gains * grad
    # through the norm: inverse = (sum of squares + 1e-4) ** -1/2
    of_centred = of_unit * inverse - centred * inverse**3 * (of_unit * centred).sum(axis=0)
    return of_centred - of_centred.mean(axis=0), of_gains
