"""Every spike of an image as a dot, over the windows of all layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ttfs_cupy.common.checks import check_count, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.plot.canvas import GREY, SHADE, SMALL, VERMILION, axes_for, depth_colours
from ttfs_cupy.plot.spike_times import LayerSpikes, layers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NEURONS = 400
# what a layer's band takes of its place: the rest keeps it apart from the next one
BAND = 0.86


def raster(
    spike_times: Mapping[str, ArrayLike],
    *,
    image: int = 0,
    t_win: float = 1.0,
    layers: Sequence[str] | None = None,
    decision: float | None = None,
    first_window: int = 1,
    most_neurons: int = MOST_NEURONS,
    ax: Axes | None = None,
) -> Axes:
    """Draws the spikes of one image: a dot each, at its time to the right, in its layer's band upwards.

    spike_times: what `Network.spike_times()` returns, {layer: (N, C, H, W) or (N, C)}: local times in [0, t_win], inf
    for silence. An entry "input" before it, times of the image's own spikes, gets the window before the first layer's.
    image: which of the N. t_win: the length T of a window, `Network.t_win`. layers: the names of those that are drawn;
    None for all. decision: when the class was decided, in the time of the figure, where a line marks it.
    first_window: how many windows pass before that of the first layer: the image's own, or 0 with direct coding.
    most_neurons: of a larger layer so many are drawn, evenly taken, as its label says.

    Windows follow one another: layer l fires in [T l, T (l + 1)] (docs/model.md), and pooling as the layer below it.
    Raises UserError (a ValueError) for spike times or names that are none, and for an image that is not there.
    """
    found = layers_of(spike_times, t_win, check_count("first_window", first_window, least=0))
    images = len(found[0].times)
    image = check_count("image", image, least=0)
    if image >= images:
        raise UserError(f"image must be one of the {images} that spike_times holds, from 0, not {image}")
    most_neurons = check_count("most_neurons", most_neurons)
    shown_layers = _chosen(found, layers)
    first, last = found[0].window, found[-1].window + 1
    if decision is not None:
        decision = check_number("decision", decision, 0, t_win * (last + 1))

    axes = axes_for(ax, 8.5, 1.2 + 0.62 * len(shown_layers))
    colours = depth_colours(last - first)
    for place, layer in enumerate(shown_layers):
        times, heights = _spikes(layer, image, most_neurons)
        axes.scatter(
            t_win * layer.window + times, place + BAND * heights, s=4, linewidths=0, color=colours[layer.window - first]
        )
    _draw_windows(axes, found, t_win, decision)
    axes.set_ylim(-0.12, len(shown_layers))
    axes.set_yticks(
        [place + BAND / 2 for place in range(len(shown_layers))],
        [_label(layer, most_neurons) for layer in shown_layers],
        size=SMALL,
    )
    axes.tick_params("y", length=0)
    axes.set_xlabel("time")
    return axes


def _chosen(found: list[LayerSpikes], names: Sequence[str] | None) -> list[LayerSpikes]:
    if names is None:
        return found
    known = [layer.name for layer in found]
    wanted = [] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
    if not wanted or not all(isinstance(name, str) and name in known for name in wanted):
        raise UserError(f"layers must name some of {listed(known)}, not {shown(names)}")
    return [layer for layer in found if layer.name in wanted]


def _spikes(layer: LayerSpikes, image: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """When its neurons fired, and where each is between the first, 0, and the last, 1: of an even sample."""
    times = layer.times[image]
    count = len(times)
    sample = np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(int)
    fired = sample[np.isfinite(times[sample])]
    return times[fired], fired / max(1, count - 1)


def _label(layer: LayerSpikes, most: int) -> str:
    count = layer.times.shape[1]
    every = f"{count:,} neuron{'s' if count > 1 else ''}"
    return f"{layer.name}\n{every if count <= most else f'{most:,} of {count:,}'}"


def _draw_windows(axes: Axes, found: list[LayerSpikes], t_win: float, decision: float | None) -> None:
    """Every second one shaded, each with the names of its layers above it; the readout's, if it is decided there."""
    names: dict[int, list[str]] = {}
    for layer in found:
        names.setdefault(layer.window, []).append(layer.name)
    if decision is not None and decision > t_win * (max(names) + 1):
        names[max(names) + 1] = ["readout"]
    for window, of in names.items():
        left = t_win * window
        if (window - min(names)) % 2 == 0:
            axes.axvspan(left, left + t_win, **SHADE)
        style: dict[str, Any] = {"ha": "center", "va": "bottom", "size": SMALL, "color": GREY}
        axes.annotate(
            "\n".join(of), (left + t_win / 2, 1), (0, 3), axes.get_xaxis_transform(), "offset points", **style
        )
    if decision is not None:
        axes.axvline(decision, color=VERMILION, linewidth=1.2)
        style = {"ha": "right", "va": "top", "size": SMALL, "color": VERMILION}
        axes.annotate("decided", (decision, 1), (-3, -2), axes.get_xaxis_transform(), "offset points", **style)
    axes.set_xlim(t_win * min(names), t_win * (max(names) + 1))
    axes.set_xticks([t_win * window for window in range(min(names), max(names) + 2)])
