"""A card for each layer: when its neurons fire, which never do, and how its weights are distributed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.watching.layers import layer_warnings
from ttfs_cupy.report.drawing import pictures
from ttfs_cupy.report.drawing.charts import NONE, Chart, Series, Table, percent, rounded
from ttfs_cupy.report.drawing.line_charts import PERCENT, SHORT, steps
from ttfs_cupy.report.gathering.measuring import Measurements

HEIGHT, BINS = 120, 40
# a filter of one weight is no picture, and thousands of them none either
SMALLEST_FILTER, MOST_FILTERS = 2, 512


@dataclass(frozen=True)
class Filters:
    picture: str
    about: str


@dataclass(frozen=True)
class LayerCard:
    name: str
    about: str
    facts: list[tuple[str, str]]
    charts: list[Chart]
    filters: Filters | None = None


@dataclass(frozen=True)
class Layers:
    cards: list[LayerCard]
    table: Table
    warnings: list[str]
    is_measured: bool


def layers(network: Network, measured: Measurements | None, config: Config) -> Layers:
    """Of all layers with weights. measured: None where there are no data to measure with."""
    weighted = [layer for layer in network.layers if isinstance(layer, Weighted)]
    cards = [_card(network, place, layer, measured) for place, layer in enumerate(weighted)]
    warnings = []
    if measured is not None:
        found = measured.evaluation
        warnings = layer_warnings(found.firing_rates, found.saturations, "test", config)
    return Layers(
        cards, _table(weighted, measured), [one.removeprefix("warning: ") for one in warnings], measured is not None
    )


def _card(network: Network, place: int, layer: Weighted, measured: Measurements | None) -> LayerCard:
    weights = network.device.to_host(layer.weights)
    charts, facts = [], []
    if measured is not None and layer.is_spiking:
        facts += _firing(layer, measured)
        charts.append(_times(network, place, layer, measured))
    facts += _weights(weights)
    charts.append(_distribution(place, layer, weights))
    height, width, channels = layer.out_shape
    shape = f"{channels}" if layer.flat else f"{channels} x {height} x {width}"
    about = f"{shape} neurons, {weights.size:,} weights"
    return LayerCard(layer.name, about, facts, charts, _filters(weights) if place == 0 and not layer.flat else None)


def _firing(layer: Weighted, measured: Measurements) -> list[tuple[str, str]]:
    name = layer.name
    silent, first = _silent(measured, name), _always_first(measured, name)
    return [
        ("firing rate", percent(measured.evaluation.firing_rates[name])),
        ("as the window opens", percent(measured.evaluation.saturations[name])),
        ("never fire", f"{silent:,} of {layer.neurons:,}"),
        ("always first", f"{first:,}"),
    ]


def _silent(measured: Measurements, name: str) -> int:
    return int((measured.fired[name] == 0).sum())


def _always_first(measured: Measurements, name: str) -> int:
    return int((measured.at_once[name] == len(measured.labels)).sum())


def _weights(weights: NDArray[np.float32]) -> list[tuple[str, str]]:
    values = weights.astype(np.float64)
    norms = _norms(weights)
    mean, deviation = float(values.mean()), float(values.std())
    # what rounding leaves of a mean of 0
    shown = 0.0 if abs(mean) < 1e-5 * deviation else mean
    return [
        ("weights", f"{shown:.3g} ± {deviation:.3g}"),
        ("from, to", f"{values.min():.3g}, {values.max():.3g}"),
        ("norm by channel", f"{norms.mean():.3g} ± {norms.std():.3g}"),
        ("from, to", f"{norms.min():.3g}, {norms.max():.3g}"),
    ]


def _norms(weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each output channel's weights: of standardised ones that is the gain."""
    found: NDArray[np.float64] = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(0, 1, 2)))
    return found


def _times(network: Network, place: int, layer: Weighted, measured: Measurements) -> Chart:
    counts = measured.spike_times[layer.name]
    total, width = int(counts.sum()), network.t_win / len(counts)
    shares = counts / max(1, total)
    rows = [
        [rounded(k * width), rounded((k + 1) * width), rounded(float(share)), "s0"] for k, share in enumerate(shares)
    ]
    table = Table(
        f"Spike times of {layer.name}",
        ["from", "to", "spikes", "share"],
        [
            [f"{k * width:.4g}", f"{(k + 1) * width:.4g}", f"{int(n):,}", percent(share)]
            for k, (n, share) in enumerate(zip(counts, shares, strict=True))
        ],
    )
    said = f"When the neurons of {layer.name} fire, in their window of {network.t_win:g}: {total:,} spikes"
    if total:
        cumulated = np.cumsum(shares)
        half = (int(np.searchsorted(cumulated, 0.5)) + 1) * width
        said += f", half of them before {half:.3g}, {percent(shares[0])} of them in the first {width:.3g}"
    series = [Series("s0", layer.name, 0)]
    specification = steps(series, "spike time in the window", "share of spikes", y_format=PERCENT, height=HEIGHT)
    return Chart(
        f"times-{place}", "Spike times", f"{said}.", specification, {"rows": (("x", "end", "y", "s"), rows)}, table
    )


def _distribution(place: int, layer: Weighted, weights: NDArray[np.float32]) -> Chart:
    values = weights.astype(np.float64).ravel()
    counts, edges = np.histogram(values, BINS)
    shares = counts / max(1, values.size)
    bins = list(zip(edges[:-1], edges[1:], counts, shares, strict=True))
    rows = [[rounded(low), rounded(high), rounded(share), "s0"] for low, high, _, share in bins]
    table = Table(
        f"Weights of {layer.name}",
        ["from", "to", "weights", "share"],
        [[f"{low:.4g}", f"{high:.4g}", f"{count:,}", percent(share)] for low, high, count, share in bins],
    )
    mean, deviation = float(values.mean()), float(values.std())
    said = (
        f"How the {values.size:,} weights of {layer.name} are distributed: mean {mean:.3g}, deviation {deviation:.3g}."
    )
    specification = steps(
        [Series("s0", layer.name, 2)], "weight", "share of weights", x_format=SHORT, y_format=PERCENT, height=HEIGHT
    )
    return Chart(f"weights-{place}", "Weights", said, specification, {"rows": (("x", "end", "y", "s"), rows)}, table)


def _filters(weights: NDArray[np.float32]) -> Filters | None:
    height, width, inputs, count = weights.shape
    if min(height, width) < SMALLEST_FILTER or count > MOST_FILTERS:
        return None
    uri, rows, columns = pictures.filters(weights)
    colours = "blue below 0, white 0, orange above 0"
    about = f"The {count} filters of {height} x {width} weights, {rows} rows of {columns}: {colours}"
    return Filters(uri, f"{about}{', the mean over inputs' if inputs > 1 else ''}.")


def _table(weighted: list[Weighted], measured: Measurements | None) -> Table:
    rows = []
    for layer in weighted:
        cells = [layer.name, f"{layer.neurons:,}", f"{int(np.prod(layer.weights_shape)):,}"]
        if measured is not None:
            found = measured.evaluation
            cells += (
                [
                    percent(found.firing_rates[layer.name]),
                    percent(found.saturations[layer.name]),
                    f"{_silent(measured, layer.name):,}",
                    f"{_always_first(measured, layer.name):,}",
                ]
                if layer.is_spiking
                else [NONE] * 4
            )
        rows.append(cells)
    header = ["layer", "neurons", "weights"]
    if measured is not None:
        header += ["firing rate", "as the window opens", "never fire", "always first"]
    return Table("Layers on the test set" if measured is not None else "Layers", header, rows)
