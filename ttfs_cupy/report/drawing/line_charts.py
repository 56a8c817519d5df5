"""Specifications of lines over epochs, and of histograms."""

from collections.abc import Sequence
from typing import Any

from ttfs_cupy.report.drawing.charts import NOWHERE, POINTER, Series, Specification

HEIGHT = 220
# up to so many epochs each has a dot, too
FEW = 30
PERCENT, SHORT = ".1~%", ".4~g"


def lines(
    series: Sequence[Series],
    y_title: str,
    *,
    x_title: str = "epoch",
    y_format: str = SHORT,
    log: bool = False,
    zero: bool = False,
    dots: bool = False,
    band: bool = False,
    height: int = HEIGHT,
) -> Specification:
    """Lines of data `rows` (x, y, s; with a band also low, high), with the values of all at the pointer; `marks`
    (x, label, align) are vertical rules. The signal `hide` lists the keys of series that are not drawn."""
    shown = [{"filter": "indexof(hide, datum.s) < 0"}]
    x: dict[str, Any] = {"field": "x", "type": "quantitative", "title": x_title}
    x |= {
        "scale": {"nice": False, "zero": False},
        "axis": {"tickMinStep": 1, "tickCount": 8, "format": "d", "labelOverlap": True, "labelSeparation": 8},
    }
    scale = {"zero": zero, **({"type": "log"} if log else {})}
    y_title = f"{y_title}, logarithmic" if log else y_title
    y = {"field": "y", "type": "quantitative", "title": y_title, "scale": scale, "axis": _axis(y_format)}
    keys = [one.key for one in series]
    colour = {"field": "s", "type": "nominal", "legend": None, "scale": _of(keys, [one.colour for one in series])}
    dash = {"field": "s", "type": "nominal", "legend": None, "scale": _of(keys, [one.dash for one in series])}
    line: dict[str, Any] = {"type": "line", "strokeWidth": 2, "strokeJoin": "round", "clip": True}
    if dots:
        line["point"] = {"size": 22, "filled": True}
    layers: list[Specification] = []
    if band:
        low, high = {"field": "low", "type": "quantitative", "title": y_title}, {"field": "high"}
        area = {"type": "area", "opacity": 0.18, "clip": True}
        layers.append(
            {"transform": shown, "mark": area, "encoding": {"x": x, "y": {**y, **low}, "y2": high, "color": colour}}
        )
    layers.append({"transform": shown, "mark": line, "encoding": {"x": x, "y": y, "color": colour, "strokeDash": dash}})
    layers += _marks(x)
    layers += _pointer(x, series, x_title, y_format)
    return {
        **_frame(height),
        "params": [{"name": "hide", "value": []}, {"name": POINTER, "value": NOWHERE}],
        "data": {"name": "rows"},
        "layer": layers,
    }


def steps(
    series: Sequence[Series],
    x_title: str,
    y_title: str,
    *,
    x_format: str = SHORT,
    y_format: str = SHORT,
    height: int = HEIGHT,
) -> Specification:
    """Histograms of data `rows` (x, end, y, s), one over the other; y is each bin's height."""
    keys = [one.key for one in series]
    encoding: dict[str, Any] = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "title": x_title,
            "axis": {"format": x_format, "tickCount": 6},
            "scale": {"nice": False, "zero": False},
        },
        "x2": {"field": "end"},
        "y": {
            "field": "y",
            "type": "quantitative",
            "title": y_title,
            "axis": {**_axis(y_format), "tickCount": 4},
            "stack": None,
        },
        "y2": {"datum": 0},
        "color": {"field": "s", "type": "nominal", "legend": None, "scale": _of(keys, [one.colour for one in series])},
        "tooltip": [
            {"field": "x", "title": x_title, "format": x_format},
            {"field": "end", "title": "to", "format": x_format},
            {"field": "y", "title": y_title, "format": y_format},
        ],
    }
    mark = {"type": "bar", "opacity": 0.85 if len(series) == 1 else 0.55, "binSpacing": 1}
    return {
        **_frame(height),
        "params": [{"name": "hide", "value": []}],
        "data": {"name": "rows"},
        "transform": [{"filter": "indexof(hide, datum.s) < 0"}],
        "mark": mark,
        "encoding": encoding,
    }


def bars(series: Sequence[Series], names: Sequence[str], y_title: str, *, height: int = HEIGHT) -> Specification:
    """Bars of data `rows` (layer, y, s), side by side for each name."""
    keys = [one.key for one in series]
    return {
        **_frame(height),
        "data": {"name": "rows"},
        "mark": {"type": "bar", "cornerRadiusEnd": 2},
        "encoding": {
            "x": {
                "field": "layer",
                "type": "nominal",
                "sort": None,
                "title": None,
                "scale": {"domain": list(names)},
                "axis": {"labelAngle": 0, "labelLimit": 90, "labelOverlap": True},
            },
            "xOffset": {"field": "s", "scale": {"domain": keys}},
            "y": {"field": "y", "type": "quantitative", "title": y_title, "axis": _axis("~s")},
            "color": {
                "field": "s",
                "type": "nominal",
                "legend": None,
                "scale": _of(keys, [one.colour for one in series]),
            },
            "tooltip": [{"field": "layer", "title": "layer"}, {"field": "y", "title": y_title, "format": ",.4~r"}],
        },
    }


def _frame(height: int) -> Specification:
    return {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}


def _axis(number_format: str) -> dict[str, Any]:
    return {"format": number_format, "tickCount": 5}


def _of(keys: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return {"domain": list(keys), "range": list(values)}


def _marks(x: dict[str, Any]) -> list[Specification]:
    place = {"x": {**x, "field": "x"}}
    rule = {"type": "rule", "stroke": "var(--muted)", "strokeDash": [3, 3], "clip": True}
    text = {"type": "text", "y": -5, "baseline": "bottom", "align": {"expr": "datum.align"}}
    return [
        {
            "data": {"name": "marks"},
            "mark": rule,
            "encoding": {**place, "tooltip": {"field": "label", "title": "here"}},
        },
        {"data": {"name": "marks"}, "mark": text, "encoding": {**place, "text": {"field": "label"}}},
    ]


def _pointer(x: dict[str, Any], series: Sequence[Series], x_title: str, y_format: str) -> list[Specification]:
    """A rule at the epoch nearest to the pointer, whose place is the signal POINTER, and the values of all there.

    Few elements, as one for each epoch would make a page of long runs slow: what has the tooltip is the whole plot.
    """
    number_format = ".2%" if y_format.endswith("%") else y_format
    values = [{"field": one.key, "type": "quantitative", "title": one.label, "format": number_format} for one in series]
    nearest = [
        {"pivot": "s", "value": "y", "groupby": ["x"]},
        {"calculate": f"abs(datum.x - {POINTER})", "as": "distance"},
        {"joinaggregate": [{"op": "min", "field": "distance", "as": "least"}]},
        {"filter": f"{POINTER} > {NOWHERE} && datum.distance === datum.least"},
    ]
    rule = {"type": "rule", "stroke": "var(--muted)", "opacity": 0.7, "tooltip": None}
    plot = {"type": "rect", "fill": "transparent", "x": 0, "x2": {"expr": "width"}, "y": 0, "y2": {"expr": "height"}}
    tooltip = [{"field": "x", "type": "quantitative", "title": x_title, "format": "d"}, *values]
    return [
        {"transform": nearest, "mark": rule, "encoding": {"x": x}},
        {"transform": nearest, "mark": plot, "encoding": {"tooltip": tooltip}},
    ]
