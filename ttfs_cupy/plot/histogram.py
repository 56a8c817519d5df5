"""When the neurons of each layer fire, as distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.plot.canvas import SMALL, axes_for, depth_colours, matplotlib
from ttfs_cupy.plot.spike_times import ROUNDING, layers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BINS = 10_000


def spike_time_histogram(
    spike_times: Mapping[str, ArrayLike], *, t_win: float = 1.0, bins: int = 50, ax: Axes | None = None
) -> Axes:
    """Draws, for each layer, the share of its neurons that fire in each of `bins` equal parts of its window.

    spike_times: what `Network.spike_times()` returns, {layer: (N, C, H, W) or (N, C)}: local times in [0, t_win], inf
    for silence; shares are over all N images. The legend says what share stays silent. Pooling, which passes on the
    earliest spikes of the layer below, has that layer's colour and a dashed line.
    Raises UserError (a ValueError) for spike times that are none.
    """
    found = layers_of(spike_times, t_win)
    edges = np.linspace(0, t_win, check_count("bins", bins, most=MOST_BINS) + 1)
    # float32 may have rounded a window's end upwards
    counted = np.append(edges[:-1], t_win * (1 + ROUNDING))
    axes = axes_for(ax, 7.5, 3.6)
    is_silent = True
    colours = depth_colours(found[-1].window - found[0].window + 1)
    for layer in found:
        counts, _ = np.histogram(layer.times[np.isfinite(layer.times)], counted)
        is_silent = is_silent and not counts.any()
        axes.stairs(
            100 * counts / layer.times.size,
            edges,
            color=colours[layer.window - found[0].window],
            linestyle="--" if layer.is_pool else "-",
            linewidth=1.1 if layer.is_pool else 1.6,
            label=f"{layer.name}: {100 * layer.silent:.1f} % silent",
        )
    if is_silent:
        axes.set_ylim(0, 1)
    else:
        _scale_by_logarithm(axes)
    axes.set_xlim(0, t_win)
    axes.set_xlabel("spike time since the layer's window opened")
    axes.set_ylabel("neurons per bin, %")
    axes.grid(axis="y", alpha=0.25)
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0}
    axes.legend(fontsize=SMALL, frameon=False, ncols=1 + (len(found) - 1) // 16, **place)
    return axes


def _scale_by_logarithm(axes: Axes) -> None:
    """Many neurons fire as their window opens: beside that bar, nothing else would be seen on a linear scale."""
    axes.set_yscale("log")
    ticker = matplotlib("ticker")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(ticker.NullFormatter())
