"""The mistakes that the network is surest of: each image, and what fires for it when."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.engine.network import Network
from ttfs_cupy.report.drawing.charts import Chart, Specification, percent, rounded
from ttfs_cupy.report.drawing.pictures import picture
from ttfs_cupy.report.gathering.measuring import Measurements, confident_mistakes, spikes_of
from ttfs_cupy.trained.decision import readout_window
from ttfs_cupy.trained.opening import OpenedRun

# rows of a raster for each layer
MOST_NEURONS = 96
# between two layers, in rows
BETWEEN = 8
# pixels of a raster: of a layer, and the least and the most of all
OF_LAYER, LOWEST, HIGHEST = 46, 160, 380


@dataclass(frozen=True)
class Mistake:
    title: str
    picture: str
    true: str
    predicted: str
    facts: list[tuple[str, str]]
    chart: Chart


@dataclass(frozen=True)
class Mistakes:
    about: str
    shown: str
    items: list[Mistake]


def mistakes(opened: OpenedRun, measured: Measurements, names: Sequence[str], most: int) -> Mistakes | None:
    """Up to so many. None where there are none, or none are asked for."""
    chosen = confident_mistakes(measured, most)
    if not len(chosen):
        return None
    layers = spikes_of(opened, chosen)
    samples = {name: sample(earliness.shape[1]) for name, earliness in layers}
    begin, has_potentials = _first_window(opened.network, len(layers)), not opened.network.layers[-1].is_spiking
    rows = [(name, len(samples[name])) for name, _ in layers]
    specification = raster(opened.network.t_win, rows, begin, has_potentials=has_potentials)
    test = opened.experiment.test.images
    items = []
    for place, image in enumerate(chosen):
        true, predicted = names[measured.labels[image]], names[measured.predicted[image]]
        found = [(name, earliness[place]) for name, earliness in layers]
        title = f"Image {image}: {true}, taken for {predicted}"
        uri = picture(test.images[image], test.maximum)
        moment = None if measured.times is None else float(measured.times[image]) * opened.network.t_win
        t_win, called = opened.network.t_win, f"raster-{place}"
        chart = _chart(t_win, begin, called, title, found, samples, specification, moment)
        items.append(Mistake(title, uri, true, predicted, _facts(measured, int(image)), chart))
    parts = [f"{len(samples[name]):,} of {earliness.shape[1]:,} neurons of {name}" for name, earliness in layers]
    wrong = int((~measured.is_right).sum())
    about = f"Of {wrong:,} wrong predictions the {len(items)} with the highest probability."
    return Mistakes(about, f"Shown are {', '.join(parts)}; the same ones for each image, drawn once.", items)


def sample(neurons: int) -> NDArray[np.int64]:
    """Which neurons of a layer are shown: all of them, or MOST_NEURONS, drawn by a fixed seed, in ascending order."""
    if neurons <= MOST_NEURONS:
        return np.arange(neurons)
    return np.sort(np.random.Generator(np.random.PCG64(0)).choice(neurons, MOST_NEURONS, replace=False))


def _facts(measured: Measurements, image: int) -> list[tuple[str, str]]:
    values = np.sort(measured.readout[image].astype(np.float64))
    facts = [("probability", percent(measured.probabilities[image]))]
    if len(values) > 1:
        facts.append(("margin", f"{values[-1] - values[-2]:.3g}"))
    if measured.times is not None:
        facts.append(("decided at", f"{measured.times[image]:.3g} windows"))
    return facts


def _first_window(network: Network, layers: int) -> int:
    """In which window the first of so many layers with spikes fires: not in the input's where that has no spikes."""
    before_readout = layers - network.layers[-1].is_spiking
    return readout_window(network) - before_readout


def _chart(
    t_win: float,
    begin: int,
    name_of_chart: str,
    title: str,
    layers: Sequence[tuple[str, NDArray[np.float32]]],
    samples: dict[str, NDArray[np.int64]],
    specification: Specification,
    decided: float | None,
) -> Chart:
    """begin: the first layer's window. decided: the time since when the answer stands; None where it is not known."""
    row = 0
    dots: list[list[float | int | None]] = []
    said = []
    for window, (name, earliness) in enumerate(layers, begin):
        shown = earliness[samples[name]]
        for neuron in np.flatnonzero(shown):
            dots.append([rounded(t_win * (window + 1) - float(shown[neuron]), 4), row + int(neuron)])
        fired = earliness[earliness != 0]
        if len(fired):
            median = t_win - float(np.median(fired))
            count = f"{len(fired):,} of {len(earliness):,} neurons fire"
            said.append(f"{name}: {count}, the median at {median:.2f} of its window")
        else:
            said.append(f"{name}: no neuron fires")
        row += len(shown) + BETWEEN
    if decided is not None:
        said.append(f"The answer stands from time {decided:.3g} on")
    data = {"spikes": (("t", "row"), dots), "decided": (("t",), [] if decided is None else [[rounded(decided)]])}
    called = f"Spikes for {title[0].lower()}{title[1:]}"
    return Chart(name_of_chart, called, f"{'. '.join(said)}.", specification, data)


def raster(t_win: float, layers: Sequence[tuple[str, int]], begin: int, *, has_potentials: bool) -> Specification:
    """Spikes (t, row) of layers, of so many neurons each, whose windows follow one another from number `begin` on. Rows
    count from above. Behind them are the windows; and of a readout that has potentials, not spikes, its own."""
    windows = begin + len(layers) + has_potentials
    bands, row = [], 0
    for window, (name, count) in enumerate(layers, begin):
        bands.append(_band(t_win, windows, window, (row - 1, row + count), name))
        row += count + BETWEEN
    last, end = row - BETWEEN + 1, t_win * windows
    if has_potentials:
        bands.append(_band(t_win, windows, windows - 1, (-2, last), "readout"))
        bands[-1] |= {"at": end - t_win / 2, "align": "center", "dx": 0}
    ticks = [t_win * k for k in range(windows + 1)]
    time = {"type": "quantitative", "scale": {"domain": [0, end], "nice": False}}
    time |= {"title": "time, in windows one after the other", "axis": {"values": ticks, "format": "~g"}}
    rows = {"type": "quantitative", "title": None, "scale": {"domain": [last, -2], "nice": False}, "axis": None}
    window_of = {
        "x": {"field": "from", **time},
        "x2": {"field": "to"},
        "y": {"field": "top", **rows},
        "y2": {"field": "bottom"},
    }
    text = {"type": "text", "baseline": "middle", "align": {"expr": "datum.align"}, "dx": {"expr": "datum.dx"}}
    named = {"x": {"field": "at", **time}, "y": {"field": "middle", **rows}, "text": {"field": "name"}}
    rule = {"type": "rule", "stroke": "var(--s2)", "strokeWidth": 2}
    label = {"type": "text", "text": "decided", "y": -4, "baseline": "bottom", "fill": "var(--text)"}
    dot = {"type": "circle", "size": 9, "fill": "var(--s1)", "opacity": 0.9}
    return {
        "width": "container",
        "height": max(LOWEST, min(HIGHEST, OF_LAYER * len(layers))),
        "autosize": {"type": "fit-x", "contains": "padding"},
        "layer": [
            {"data": {"values": bands}, "mark": {"type": "rect", "fill": "var(--band)"}, "encoding": window_of},
            {"data": {"values": bands}, "mark": text, "encoding": named},
            {
                "data": {"name": "spikes"},
                "mark": dot,
                "encoding": {"x": {"field": "t", **time}, "y": {"field": "row", **rows}},
            },
            {"data": {"name": "decided"}, "mark": rule, "encoding": {"x": {"field": "t", **time}}},
            {"data": {"name": "decided"}, "mark": label, "encoding": {"x": {"field": "t", **time}}},
        ],
    }


def _band(t_win: float, windows: int, window: int, rows: tuple[float, float], name: str) -> dict[str, float | str]:
    """A window of so many, and its name beside it, on the side where there is more room."""
    begin, end = t_win * window, t_win * (window + 1)
    place: dict[str, float | str] = {"from": begin, "to": end, "top": rows[0], "bottom": rows[1], "name": name}
    place["middle"] = sum(rows) / 2
    if window < windows / 2:
        return {**place, "at": end, "align": "left", "dx": 6}
    return {**place, "at": begin, "align": "right", "dx": -6}
