"""A small network of every kind, and images for it: codes, slopes, readouts, shapes of layers."""

from typing import Any

import numpy as np

from ttfs_cupy import build
from ttfs_cupy.engine.network import Network

SHAPE, CLASSES = (2, 12, 10), 5
MODEL = [8, "P", {"convolution": 12, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0]}, {"linear": 16}]
STATISTICS: dict[str, Any] = {"mean": np.float32([0.3, 0.6]), "std": np.float32([0.25, 0.4])}

# What network() takes: one of each kind.
KINDS: list[dict[str, Any]] = [
    {"psp_slope": 0.0},
    {"psp_slope": 0.0, "t_win": 2.5, "initial_potential": True, "normalization": "weight"},
    {"psp_slope": 0.0, "standardize": True, **STATISTICS},
    {"psp_slope": 0.0, "encoding": "direct", "readout": "spike_times", **STATISTICS},
    {"psp_slope": 1.0},
    {"psp_slope": 1.0, "t_win": 0.5, "initial_potential": True},
    {"psp_slope": 0.3, "t_win": 3.0, "readout": "spike_times", "initial_potential": True},
    {"psp_slope": 1.0, "encoding": "direct", "t_win": 2.0, "initial_potential": True, **STATISTICS},
    {"psp_slope": 0.6, "encoding": "direct"},
    {"psp_slope": 1.0, "t_win": 1.5, "standardize": True, **STATISTICS},
    {"psp_slope": 1.0, "model": [{"linear": 20}, {"linear": 16}]},
    {"psp_slope": 0.5, "model": [6, {"pool": [3, 2], "stride": [2, 2]}]},
]


def network(model: Any = MODEL, seed: int = 3, **options: Any) -> Network:
    """With drawn weights, and with drawn initial potentials where it has some."""
    net = build(model, SHAPE, CLASSES, "cpu", seed=seed, **options)
    state, draws = net.state_dict(), np.random.default_rng(seed)
    for name in state:
        if name.endswith(".potential"):
            state[name] = draws.normal(0, 0.3, state[name].shape).astype(np.float32)
    net.load_state_dict(state)
    return net


def images(count: int, seed: int = 0) -> np.ndarray:
    """Half of their pixels are black."""
    draws = np.random.default_rng(seed)
    pixels = draws.random((count, *SHAPE), np.float32)
    return np.where(draws.random(pixels.shape) < 0.5, pixels, np.float32(0))
