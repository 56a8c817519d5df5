"""Charts as the page has them: a Vega specification, its data, and the same as text and as a table.

Specifications are written as Vega-Lite's and compiled here, so that the page carries Vega alone. Colours are the page's
CSS variables, which SVG takes as they are: light, dark and print need no drawing anew.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ttfs_cupy.common.packages import imported

VL_CONVERT = ("vl-convert-python, which brings the charting library Vega,", "pip install 'ttfs-cupy[report]'")
JINJA = ("jinja2, which the page is made with,", "pip install 'ttfs-cupy[report]'")

# Categorical colours of the page (style.css). Those of a block are told apart by all eyes; lines of the next block have
# other dashes.
COLOURS, BLOCK = 8, 4
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])

# A signal: the pointer's place on the x axis; where it is outside
POINTER, NOWHERE = "pointer_x", -1

# a cell without a value
NONE = "\N{EN DASH}"

Specification = dict[str, Any]
Row = Sequence[Any]

_AXIS = {
    "aria": False,
    "domain": False,
    "ticks": False,
    "gridColor": "var(--grid)",
    "labelColor": "var(--muted)",
    "titleColor": "var(--muted)",
    "labelPadding": 6,
    "titleFontWeight": "normal",
    "labelFontSize": 11,
    "titleFontSize": 11,
}
_CONFIG = {
    "background": "transparent",
    "font": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
    "view": {"stroke": None},
    "mark": {"aria": False},
    "axis": _AXIS,
    "axisX": {"grid": False, "domain": True, "domainColor": "var(--line)"},
    "text": {"fill": "var(--muted)", "fontSize": 11},
}


@dataclass(frozen=True)
class Series:
    """A line, or one part of a chart: its key in the data, its name, and its place among the colours."""

    key: str
    label: str
    place: int

    @property
    def colour(self) -> str:
        return f"var(--s{self.place % COLOURS + 1})"

    @property
    def dash(self) -> Sequence[int]:
        return DASHES[self.place // BLOCK % len(DASHES)]

    @property
    def is_dashed(self) -> bool:
        return self.place >= BLOCK


@dataclass(frozen=True)
class Table:
    """header: of the columns. rows: their cells as text; the first one is the row's heading."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    # what of the rows is left out
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """id: unique on the page. description: what a reader who cannot see it is told. data: by data set of the
    specification, its columns and rows. toggles: whether series can be switched off."""

    id: str
    title: str
    description: str
    specification: Specification
    data: Mapping[str, tuple[Sequence[str], Sequence[Row]]]
    table: Table | None = None
    series: Sequence[Series] = ()
    toggles: bool = False
    note: str = ""
    wide: bool = False


@dataclass
class Compiled:
    """What the page's script is given: each different Vega specification once, and the charts that use them."""

    specifications: list[Specification] = field(default_factory=list)
    charts: list[dict[str, Any]] = field(default_factory=list)
    _known: dict[str, int] = field(default_factory=dict)

    def add(self, chart: Chart) -> None:
        vl_convert = imported("vl_convert", *VL_CONVERT)
        text = json.dumps(chart.specification)
        if text not in self._known:
            self._known[text] = len(self.specifications)
            whole = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": _CONFIG}
            made = vl_convert.vegalite_to_vega({**whole, **chart.specification})
            made.pop("$schema", None)
            _follow_pointer(made)
            self.specifications.append(made)
        data = {name: {"columns": columns, "rows": rows} for name, (columns, rows) in chart.data.items()}
        spec = self._known[text]
        self.charts.append({"id": chart.id, "spec": spec, "description": chart.description, "data": data})

    def json(self) -> str:
        return json.dumps({"specs": self.specifications, "charts": self.charts}, separators=(",", ":"), allow_nan=False)


def _follow_pointer(specification: Specification) -> None:
    """Gives the signal POINTER, if there is one, its events, for which Vega-Lite has no words."""
    for signal in specification.get("signals", ()):
        if signal["name"] == POINTER:
            # the page's script says when it has left
            signal["on"] = [{"events": "pointermove", "update": "invert('x', x())"}]


def rounded(value: float | None, digits: int = 5) -> float | None:
    """For data of charts: what a screen cannot show takes no room."""
    return None if value is None else float(f"{value:.{digits}g}")


def percent(share: float | None, digits: int = 2) -> str:
    return NONE if share is None else f"{100 * share:.{digits}f} %"
