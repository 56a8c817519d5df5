"""Accuracy over the levels of each disturbance, as a picture."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfs_cupy.common.shown import listed, one_line
from ttfs_cupy.plot.canvas import BLUE, GREEN, ORANGE, VERMILION, matplotlib, saved
from ttfs_cupy.robustness.kinds import KINDS, Kind
from ttfs_cupy.robustness.measurement import Point
from ttfs_cupy.robustness.settings import Group, MeasuredRun

MATPLOTLIB = ("matplotlib, which draws the figure,", "pip install 'ttfs-cupy[plot]', or add --no-figure")
FORMATS = ("png", "svg")

# lines and markers go on where they end
COLOURS = (BLUE, VERMILION, GREEN, "#cc79a7", ORANGE, "#56b4e9")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P")
# panels in a row
MOST_COLUMNS = 4
# characters of a run's name, and of the names of data sets, in the title
WIDEST = 70
# of the title: points, what a letter takes of that on average, and inches of a line
TITLE, LETTER, TITLE_LINE = 11, 0.56, 0.2
# of the numbers below a panel
MOST_TICKS = 5


def require() -> None:
    """Raises UserError where matplotlib is missing, or refuses its settings."""
    matplotlib("figure", *MATPLOTLIB)


def pictures(groups: Sequence[Group]) -> dict[str, bytes]:
    """By each of FORMATS, the same figure: a panel for each disturbance. A thin line is a run, a thick one the mean of
    its group, a dashed one the accuracy without disturbance; a band is the sample deviation of what a line is the mean
    of. Raises UserError where matplotlib is missing."""
    # else an SVG's names are drawn anew each time
    with matplotlib("", *MATPLOTLIB).rc_context({"svg.hashsalt": "ttfs-robustness"}):
        figure = _figure(groups)
        metadata = {"svg": {"Date": None}}
        return {kind: saved(figure, format=kind, dpi=150, metadata=metadata.get(kind)) for kind in FORMATS}


def _figure(groups: Sequence[Group]) -> Any:
    names = list(dict.fromkeys(point.kind for point in groups[0].runs[0].measured.points))
    rows = -(-len(names) // MOST_COLUMNS)
    columns = -(-len(names) // rows)
    width = max(6, 1.2 + 2.9 * columns)
    title = _title(groups, width)
    size = (width, 0.7 + TITLE_LINE * len(title) + 2.6 * rows)
    figure = matplotlib("figure", *MATPLOTLIB).Figure(figsize=size, layout="constrained", facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, name in zip(panels, names, strict=False):
        _panel(panel, KINDS[name], groups)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    for first in panels[::columns]:
        first.set_ylabel("test accuracy, %")
    _scale(panels[: len(names)], groups)
    handles, labels = panels[0].get_legend_handles_labels()
    several = len(groups) > 1
    if several:
        # a setting is a text of anybody's: no formula
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=1 if rows == 1 else 2, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.suptitle("\n".join(title), fontsize=TITLE, parse_math=False)
    return figure


def _title(groups: Sequence[Group], width: float) -> list[str]:
    """Its lines, which so many inches hold."""
    runs = [run for group in groups for run in group.runs]
    what = one_line(runs[0].name, WIDEST) if len(runs) == 1 else f"{len(runs)} runs"
    sets = one_line(listed(dict.fromkeys(run.config.data.dataset for run in runs)), WIDEST)
    said = f"{what}: {runs[0].measured.images:,} test images of {sets}, disturbed"
    most = int(width * 72 / (LETTER * TITLE))
    return [*textwrap.wrap(said, most), *textwrap.wrap("(dashed: undisturbed; bands: sample deviation)", most)]


def _panel(axes: Any, kind: Kind, groups: Sequence[Group]) -> None:
    levels: list[float] = []
    for number, group in enumerate(groups):
        style = _style(number)
        curves = []
        for run in group.runs:
            points = sorted((one for one in run.measured.points if one.kind == kind.name), key=lambda one: one.level)
            levels, accuracies, deviations = _curve(kind, run, points)
            curves.append(accuracies)
            if len(group.runs) > 1:
                axes.plot(levels, accuracies, color=style["color"], linewidth=0.6, alpha=0.6)
        mean = np.mean(curves, axis=0)
        spread = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else deviations
        axes.fill_between(levels, mean - spread, mean + spread, color=style["color"], alpha=0.18, linewidth=0)
        axes.plot(levels, mean, label=group.label or "accuracy", linewidth=1.6, markersize=4, **style)
        clean = 100 * np.mean([run.measured.clean.accuracy for run in group.runs])
        axes.axhline(clean, color=style["color"], linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_title(kind.name, fontsize=10)
    axes.set_xlabel(kind.axis, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.3)
    if kind.is_clean_at_0:
        axes.xaxis.set_major_locator(matplotlib("ticker", *MATPLOTLIB).MaxNLocator(MOST_TICKS, steps=[1, 2, 5, 10]))
    else:
        # what disturbs more stands to the right
        axes.set_xticks(levels)
        axes.invert_xaxis()


def _curve(kind: Kind, run: MeasuredRun, points: Sequence[Point]) -> tuple[list[float], np.ndarray, np.ndarray]:
    """Levels, accuracies and their deviations over noise seeds, in percent; from level 0 on where that is clean."""
    levels = [point.level for point in points]
    accuracies = [[one.accuracy for one in point.passes] for point in points]
    if kind.is_clean_at_0 and 0 not in levels:
        levels, accuracies = [0, *levels], [[run.measured.clean.accuracy], *accuracies]
    deviations = [np.std(own, ddof=1) if len(own) > 1 else 0 for own in accuracies]
    return levels, 100 * np.array([np.mean(own) for own in accuracies]), 100 * np.array(deviations)


def _scale(panels: Sequence[Any], groups: Sequence[Group]) -> None:
    """Of all panels, which share it, from 0, with room above the best."""
    best = max(100 * run.measured.clean.accuracy for group in groups for run in group.runs)
    drawn = [panel.dataLim.y1 for panel in panels]
    panels[0].set_ylim(0, max(best * 1.06, max(drawn) * 1.02, 1))


def _style(number: int) -> dict[str, Any]:
    colour, turn = COLOURS[number % len(COLOURS)], number // len(COLOURS)
    return {"color": colour, "linestyle": LINES[turn % len(LINES)], "marker": MARKERS[number % len(MARKERS)]}
