"""What a simulation found, as tables, as sentences and as JSON."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.common.shown import listed
from ttfs_cupy.engine.network import Network
from ttfs_cupy.simulation.comparison import LayerComparison
from ttfs_cupy.simulation.convergence import ORDERED, Row, fitted_orders
from ttfs_cupy.simulation.passes import Readouts, SideBySide
from ttfs_cupy.simulation.time_grid import TimeGrid

# of predictions that differ
MOST_TOLD = 5

# steps: the median of the bounds, in steps of dt
_HEADINGS = ("layer", "spikes", "largest", "mean", "of its bound", "steps", "flips", "widest", "of its bound")
_WHOLE = ("layer", "spikes", "largest", "mean", "flips")


def code_of(network: Network) -> str | None:
    """What becomes of an input code without spike times, in a sentence; None of one that has them."""
    encoder = network.encoder
    if encoder.is_spike_code:
        return None
    if encoder.encoding == "direct":
        return "pixels are constant currents, which charge the coding layer while its input window lasts"
    return "standardised latencies leave the window, so no spikes have them: each is injected as a constant current"


def grid_line(grid: TimeGrid, dtype: str) -> str:
    return f"{grid.window} steps of {grid.dt:g} a window, {dtype}"


def layer_tables(result: SideBySide) -> list[str]:
    """The three comparisons, a table each, with a line about each before it."""
    return [
        "each layer given the closed form's spikes, on the grid:",
        *_table(result.given_closed),
        "the closed form given each layer's simulated input:",
        *_table(result.given_simulated),
        "end to end:",
        *_table(result.end_to_end, _WHOLE),
    ]


def _table(layers: Sequence[LayerComparison], headings: Sequence[str] = _HEADINGS) -> list[str]:
    return [f"  {line}" for line in aligned([headings, *(_cells(layer, headings) for layer in layers)], left=1)]


def _cells(layer: LayerComparison, headings: Sequence[str]) -> list[str]:
    of_times = [
        layer.layer,
        str(layer.spikes) if layer.is_spiking else "-",
        f"{layer.largest:.2e}",
        f"{layer.mean:.2e}",
    ]
    flips = str(layer.flips) if layer.is_spiking else "-"
    if headings is _WHOLE:
        return [*of_times, flips]
    of_flips = [f"{layer.widest_flip:.1e}", f"{layer.widest_share:.2f}"] if layer.flips else ["-", "-"]
    median = layer.median_bound
    steps = "-" if median is None else f"{median:.3g}"
    return [*of_times, f"{layer.largest_share:.2f}", steps, flips, *of_flips]


def prediction_lines(readouts: Readouts) -> list[str]:
    """How many predictions agree, and those that do not with what separates them."""
    images = len(readouts.labels)
    after, differing = readouts.differing_after_closed, readouts.differing
    lines = [f"{images - len(after)} of {images} equal, the readout given the closed form's spikes"]
    lines += _told(readouts, after, readouts.after_closed)
    lines.append(f"{images - len(differing)} of {images} equal, end to end")
    return lines + _told(readouts, differing, readouts.simulated)


def _told(readouts: Readouts, images: Sequence[int] | np.ndarray, simulated: np.ndarray) -> list[str]:
    lines = []
    for image in images[:MOST_TOLD]:
        ours, theirs = int(readouts.closed[image].argmax()), int(simulated[image].argmax())
        margin = readouts.closed[image, ours] - readouts.closed[image, theirs]
        off = simulated[image] - readouts.closed[image]
        apart = off[theirs] - off[ours]
        limit = readouts.limit.below[image, ours] + readouts.limit.above[image, theirs]
        bound = f", at most {limit:.2g}" if simulated is readouts.after_closed and np.isfinite(limit) else ""
        lines.append(
            f"  image {image}, of class {readouts.labels[image]}: {theirs} instead of {ours}, which leads by "
            f"{margin:.2g}; steps move the two by {apart:.2g}{bound}"
        )
    if len(images) > MOST_TOLD:
        lines.append(f"  and {len(images) - MOST_TOLD} more")
    return lines


def verdict(results: Sequence[SideBySide]) -> str:
    """A sentence: whether the closed form and the simulation agree, and where they do not."""
    for result in results:
        wrong = [layer for layer in result.bounded if layer.unexplained]
        if wrong:
            count = sum(layer.unexplained for layer in wrong)
            names = listed(dict.fromkeys(layer.layer for layer in wrong))
            return (
                f"the simulation does not agree with the closed form, in {count} neurons of {names} at "
                f"dt {result.grid.dt:g}: {wrong[0].first}"
            )
    return "the simulation agrees with the closed form: every spike and every potential is within what a step explains"


_COLUMNS = {
    "largest": "largest",
    "mean": "mean",
    "scaled": "by gain",
    "whole": "end to end",
    "whole_mean": "its mean",
    "potentials": "potentials",
}


def convergence_table(rows: Sequence[Row]) -> list[str]:
    """A line for each dt, and the fitted order of each column."""
    headings = ["dt", *(_COLUMNS[name] for name in ORDERED), "ratio", "differing"]
    lines = [headings]
    for place, row in enumerate(rows):
        values = [getattr(row, name) for name in ORDERED]
        before = rows[place - 1].largest if place else 0.0
        ratio = f"{before / row.largest:.2f}" if place and row.largest else "-"
        lines.append([f"{row.dt:g}", *(f"{value:.2e}" for value in values), ratio, str(row.differing)])
    orders = fitted_orders(rows).values()
    lines.append(["order", *("-" if order is None else f"{order:.2f}" for order in orders), "", ""])
    return [f"  {line}" for line in aligned(lines, left=1)]


def as_json(results: Sequence[SideBySide], rows: Sequence[Row], of_run: dict[str, Any]) -> bytes:
    """All that was found. of_run: what it was found on."""
    content = {
        **of_run,
        "agrees": all(result.agrees for result in results),
        "verdict": verdict(results),
        "simulations": [_content(result) for result in results],
        "orders": fitted_orders(rows) if len(rows) > 1 else None,
    }
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _content(result: SideBySide) -> dict[str, Any]:
    closed, simulated = result.readouts.accuracies()
    return {
        "dt": result.grid.dt,
        "steps": result.grid.window,
        "dtype": result.dtype,
        "agrees": result.agrees,
        "accuracy": {"closed form": closed, "simulation": simulated},
        "differing predictions": {
            "given the closed form's spikes": result.readouts.differing_after_closed.tolist(),
            "end to end": result.readouts.differing.tolist(),
        },
        "given the closed form's spikes": [_layer(layer) for layer in result.given_closed],
        "given the simulated spikes": [_layer(layer) for layer in result.given_simulated],
        "end to end": [_layer(layer) for layer in result.end_to_end],
    }


def _layer(layer: LayerComparison) -> dict[str, Any]:
    values = {key: _finite(value) for key, value in asdict(layer).items() if key != "has_bounds"}
    if not layer.has_bounds:
        for key in ("largest_share", "widest_flip", "widest_share", "unexplained", "first"):
            del values[key]
    else:
        values |= {"median_bound": layer.median_bound, "p99_bound": layer.p99_bound}
    return {**values, "mean": _finite(layer.mean)}


def _finite(value: Any) -> Any:
    """None for what JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
