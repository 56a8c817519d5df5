"""By how much the network decides, and since when its answer stands: of right predictions beside wrong ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.report.drawing.charts import Chart, Series, Table, rounded
from ttfs_cupy.report.drawing.line_charts import PERCENT, SHORT, steps
from ttfs_cupy.report.gathering.measuring import Measurements

BINS = 40
RIGHT, WRONG = Series("s0", "right", 0), Series("s1", "wrong", 1)


@dataclass(frozen=True)
class DecisionCharts:
    about: list[str]
    charts: list[Chart]


def decisions(measured: Measurements) -> DecisionCharts | None:
    """None where the readouts are not finite."""
    if measured.margins is None or measured.times is None:
        return None
    right = measured.is_right
    stands = (
        "its first neuron fires" if measured.readout_fires else "the largest readout has been the largest to the end"
    )
    about = [
        "The margin is by how much the largest readout exceeds the second. An answer stands from when "
        f"{stands}; time is counted in windows, from the first one's start."
    ]
    charts = [_chart(right, "margins", "Margin", measured.margins, "margin")]
    times = measured.times
    if times.min() == times.max():
        about.append(f"On every image the answer stands from {times[0]:.4g} on{_why(measured)}.")
    else:
        charts.append(_chart(right, "decided", "Since when the answer stands", times, "time, in windows"))
    return DecisionCharts(about, charts)


def _why(measured: Measurements) -> str:
    if measured.psp_slope == 0 and not measured.readout_fires:
        return ", as the readout's window opens: at psp_slope 0 its potentials do not change within it"
    return ""


def _chart(right: NDArray[np.bool_], name: str, title: str, values: NDArray[np.float32], x_title: str) -> Chart:
    _, edges = np.histogram(values, BINS)
    rows, columns, said = [], [], []
    for one, of in ((RIGHT, right), (WRONG, ~right)):
        chosen = values[of]
        counts, _ = np.histogram(chosen, edges)
        columns.append(counts)
        shares = counts / max(1, len(chosen))
        rows += [
            [rounded(low), rounded(high), rounded(float(share)), one.key]
            for low, high, share in zip(edges[:-1].tolist(), edges[1:].tolist(), shares, strict=True)
            if share
        ]
        if len(chosen):
            quarters = np.quantile(chosen, (0.25, 0.5, 0.75))
            halves = f"half of them from {quarters[0]:.3g} to {quarters[2]:.3g}, median {quarters[1]:.3g}"
            said.append(f"{one.label}, {len(chosen):,} images: {halves}")
    table = Table(
        f"{title}: images, by whether they are predicted rightly",
        ["from", "to", "right", "wrong"],
        [
            [f"{low:.4g}", f"{high:.4g}", f"{rightly:,}", f"{wrongly:,}"]
            for low, high, rightly, wrongly in zip(edges[:-1], edges[1:], *columns, strict=True)
        ],
    )
    specification = steps([RIGHT, WRONG], x_title, "share of its images", x_format=SHORT, y_format=PERCENT)
    data = {"rows": (("x", "end", "y", "s"), rows)}
    description = f"{title}. {'; '.join(said)}."
    return Chart(f"decision-{name}", title, description, specification, data, table, (RIGHT, WRONG), toggles=True)
