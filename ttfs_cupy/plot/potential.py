"""A neuron's membrane potential on its way to the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ttfs_cupy.common.checks import is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.plot.canvas import BLUE, GREY, SMALL, VERMILION, axes_for
from ttfs_cupy.plot.spike_times import array_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def potential_trace(
    times: ArrayLike,
    potential: ArrayLike,
    threshold: ArrayLike,
    spike: float | None = None,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draws a membrane potential and its dynamic threshold over time, and the spike where they meet.

    times, potential, threshold: one-dimensional arrays of one length, finite, times rising; V(u) and theta(u) of
    docs/model.md, say. NaN in potential or threshold is a gap: of a threshold that is there in its window alone, say.
    spike: when the neuron fired, within the times; None or inf: it did not.
    Raises UserError (a ValueError) for anything else.
    """
    u = _checked("times", times)
    values, levels = (
        _checked(name, array, len(u)) for name, array in (("potential", potential), ("threshold", threshold))
    )
    if not (bool((np.diff(u) >= 0).all()) and u[-1] > u[0]):
        raise UserError("times must rise")
    if spike is not None and not (is_number(spike) and (spike == np.inf or u[0] <= spike <= u[-1])):
        raise UserError(f"spike must be a time from {u[0]:g} to {u[-1]:g}, or None or inf, not {shown(spike)}")
    axes = axes_for(ax, 6, 3.2)
    axes.plot(u, levels, "--", color=GREY, linewidth=1.5, label="threshold")
    axes.plot(u, values, "-", color=BLUE, linewidth=1.8, label="membrane potential")
    if spike is not None and np.isfinite(spike):
        axes.axvline(spike, color=VERMILION, linewidth=0.8, linestyle=":")
        is_there = ~np.isnan(levels)
        height = float(np.interp(spike, u[is_there], levels[is_there]))
        axes.plot([spike], [height], "o", color=VERMILION, markersize=6, label=f"spike at {spike:.4g}")
    axes.set_xlim(float(u[0]), float(u[-1]))
    axes.set_xlabel("time")
    axes.set_ylabel("potential")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=SMALL, frameon=False)
    return axes


def _checked(name: str, values: ArrayLike, length: int | None = None) -> NDArray[np.floating[Any]]:
    """length: of the times; None: these are the times, which have no gaps."""
    array = array_of(name, values)
    may_have_gaps = length is not None
    finite = np.isfinite(array)
    is_good = bool((finite | np.isnan(array)).all() and finite.any()) if may_have_gaps else bool(finite.all())
    if array.ndim != 1 or len(array) < 2 or not is_good:
        gaps = ", or NaN where there is a gap" if may_have_gaps else ""
        raise UserError(f"{name} must be two or more finite numbers in a row{gaps}, not {shown(values)}")
    if length is not None and len(array) != length:
        raise UserError(f"{name} must have a value for each of the {length} times, not {len(array)}")
    return array
