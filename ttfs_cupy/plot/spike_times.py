"""The spike times of a network's layers, checked, and the windows that they lie in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttfs_cupy.common.checks import check_positive
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# what an entry may be called that holds the image's own spikes
INPUT = "input"
# of float32, in which times are made
ROUNDING = 1e-6


@dataclass(frozen=True)
class LayerSpikes:
    """A layer's local spike times, float (N, neurons), inf for silence. window: how many open before its own.

    Pooling takes no time: it lets the earliest spikes of the layer below through, so it shares that layer's window; as
    the first layer of a network that of the input.
    """

    name: str
    times: NDArray[np.floating[Any]]
    window: int

    @property
    def is_pool(self) -> bool:
        return is_pool(self.name)

    @property
    def silent(self) -> float:
        """The share of neurons without a spike, over all images."""
        return float(np.isinf(self.times).mean())


def is_pool(name: str) -> bool:
    """Whether a layer of that name is one of pooling: pool1, pool2 and so on (ttfs_cupy.models)."""
    return re.fullmatch(r"pool\d*", name) is not None


def layers_of(spike_times: Mapping[str, ArrayLike], t_win: float, first: int = 1) -> list[LayerSpikes]:
    """The layers of `Network.spike_times()`, in order. first: the window of the first one; an input's is 0.

    Raises UserError for what is no such mapping: not {layer: (N, C, H, W) or (N, C)} of times in [0, t_win] or inf.
    """
    t_win = check_positive("t_win", t_win)
    if not isinstance(spike_times, Mapping) or not spike_times:
        raise UserError(
            "spike_times must map layers' names to their spike times, as net.spike_times() does, "
            f"not {shown(spike_times)}"
        )
    found: list[LayerSpikes] = []
    # the window that opened last, which is the input's before any layer's
    window = first - 1
    for name, values in spike_times.items():
        if not isinstance(name, str):
            raise UserError(f"spike_times must map layers' names to their spike times, but has the key {shown(name)}")
        times = _checked(name, values, t_win)
        if found and len(times) != len(found[0].times):
            raise UserError(
                f"spike_times holds {len(found[0].times)} images of layer {shown(found[0].name)}, "
                f"but {len(times)} of layer {shown(name)}"
            )
        window = 0 if name == INPUT and not found else window + (not is_pool(name))
        # pixels that are no spikes have no window: what is pooled of them is shown in the first one
        found.append(LayerSpikes(name, times, max(0, window)))
    return found


def _checked(name: str, values: ArrayLike, t_win: float) -> NDArray[np.floating[Any]]:
    what = f"the spike times of layer {shown(name)}"
    times = array_of(what, values)
    if times.ndim not in (2, 4) or not times.size:
        raise UserError(f"{what} must have shape (N, C, H, W) or (N, C), without a 0, not {times.shape}")
    spikes = times[times != np.inf]
    # written so that NaN, which compares false to everything, is refused too
    if not bool(((spikes >= 0) & (spikes <= t_win * (1 + ROUNDING))).all()):
        raise UserError(f"{what} must lie in [0, {t_win:g}], or be inf where a neuron is silent; is t_win right?")
    return times.reshape(len(times), -1)


def array_of(what: str, values: ArrayLike) -> NDArray[np.floating[Any]]:
    """Numbers as an array of floats. Raises UserError for anything else."""
    try:
        array = np.asarray(values)
    # CuPy's arrays are copied only by who says so
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if array.dtype.kind not in "fiub":
        raise UserError(f"{what} must be a NumPy array of numbers, not {shown(values)}")
    return array if array.dtype.kind == "f" else array.astype(np.float64)
