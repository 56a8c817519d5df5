"""The study as a picture."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ttfs_cupy.benchmarks.slope_study.measurement import JITTER, TIME_BITS, WEIGHT_BITS, Measured
from ttfs_cupy.benchmarks.slope_study.tables import groups
from ttfs_cupy.plot.canvas import saved

# told apart by colour-blind readers, too
COLOURS = ("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9")
LINES = ("-", "--")
MARKERS = ("o", "s")
WEIGHTS = {"none": "plain", "weight": "standardised"}


def picture(runs: Sequence[Measured], title: str) -> bytes:
    """A PNG: accuracy, synaptic operations, firing rates, and what noise changes. Points: runs; lines: means."""
    figure = Figure(figsize=(12, 7.6), layout="constrained", facecolor="white")
    (accuracy, operations, rates), (jitter, times, weights) = figure.subplots(2, 3)
    _points(accuracy, runs, lambda run: 100 * run.accuracy, "test accuracy, %")
    _points(operations, runs, lambda run: run.spikes / 1e6, "synaptic operations per image, millions")
    _from_0(operations)
    _rates(rates, runs)
    _changes(jitter, runs, {name: 100 * noise.jitter for name, noise in JITTER.items()})
    jitter.set_xlabel("sigma of the jitter of spike times, % of the window")
    _changes(times, runs, {name: noise.time_bits for name, noise in TIME_BITS.items()})
    times.set_xlabel("resolution of spike times, bits")
    _changes(weights, runs, {name: noise.weight_bits for name, noise in WEIGHT_BITS.items()})
    weights.set_xlabel("resolution of weights, bits")
    handles, labels = jitter.get_legend_handles_labels()
    columns = len(_slopes(runs))
    figure.legend(handles, labels, title="psp_slope, weights", loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(f"{title}. Points are runs and bars their means; joined points are means")
    return saved(figure, format="png", dpi=130)


def _points(axes: Any, runs: Sequence[Measured], value: Callable[[Measured], float], label: str) -> None:
    """Each run over its slope, and a bar at the mean of those that differ in the seed alone."""
    slopes = _slopes(runs)
    for key, group in groups(runs).items():
        style = _style(runs, key)
        # both kinds of weights side by side
        place = slopes.index(key[0]) + (-0.15, 0.15)[_kind(key)]
        values = [value(run) for run in group]
        places = [place] * len(values)
        face = style["color"] if _kind(key) == 0 else "white"
        axes.plot(places, values, style["marker"], color=style["color"], markerfacecolor=face, markersize=5)
        axes.hlines(np.mean(values), place - 0.12, place + 0.12, color=style["color"], linestyles=style["linestyle"])
    axes.set_xticks(range(len(slopes)), slopes)
    axes.set_xlim(-0.5, len(slopes) - 0.5)
    axes.set_xlabel("psp_slope")
    axes.set_ylabel(label)
    axes.grid(axis="y", alpha=0.3)


def _rates(axes: Any, runs: Sequence[Measured]) -> None:
    names = list(runs[0].firing_rates)
    for key, group in groups(runs).items():
        means = [np.mean([run.firing_rates[name] for run in group]) for name in names]
        axes.plot(range(len(names)), means, **_style(runs, key))
    axes.set_xticks(range(len(names)), names)
    _from_0(axes)
    axes.set_xlabel("layer")
    axes.set_ylabel("firing rate, spikes per neuron")
    axes.grid(axis="y", alpha=0.3)


def _changes(axes: Any, runs: Sequence[Measured], places: dict[str, Any]) -> None:
    """The share of predictions that change under these noises, over what each is drawn at."""
    for key, group in groups(runs).items():
        means = [100 * np.mean([run.noises[name].changed for run in group]) for name in places]
        slope, normalization = key
        label = f"{slope}, {WEIGHTS.get(normalization, normalization)}"
        axes.plot(list(places.values()), means, label=label, **_style(runs, key))
    axes.set_xticks(list(places.values()))
    _from_0(axes)
    axes.set_ylabel("predictions that change, %")
    axes.grid(axis="y", alpha=0.3)


def _from_0(axes: Any) -> None:
    """The scale from 0, with room above."""
    axes.set_ylim(0, axes.dataLim.y1 * 1.08 or 1)


def _slopes(runs: Sequence[Measured]) -> list[str]:
    return list(dict.fromkeys(run.slope for run in runs))


def _kind(key: tuple[str, str]) -> int:
    return int(key[1] != "none")


def _style(runs: Sequence[Measured], key: tuple[str, str]) -> dict[str, Any]:
    """A colour for each slope; plain weights have full lines and discs."""
    colour, kind = COLOURS[_slopes(runs).index(key[0])], _kind(key)
    style = {"color": colour, "linestyle": LINES[kind], "marker": MARKERS[kind], "markersize": 5}
    return style if kind == 0 else {**style, "markerfacecolor": "white"}
