"""What is taken for what: the confusion matrix, and precision and recall of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.shown import one_line
from ttfs_cupy.report.drawing.charts import Chart, Specification, Table, percent, rounded
from ttfs_cupy.report.gathering.measuring import Measurements

# of larger matrices no cell could be seen; in larger ones than the second no number could be read
MOST_CLASSES, MOST_NUMBERED = 128, 20
LONGEST_NAME = 24
CONFUSIONS = 10


@dataclass(frozen=True)
class Classes:
    matrix: Chart | None
    table: Table
    confusions: Table | None
    about: str


def names_of(count: int, given: Sequence[str] | None) -> list[str]:
    """Each class's name on the page, no two alike; their numbers where they have none."""
    plain = [str(k) for k in range(count)]
    if given is None or len(given) != count:
        return plain
    short = [one_line(name, LONGEST_NAME) or plain[k] for k, name in enumerate(given)]
    return [name if short.count(name) == 1 else f"{name} ({k})" for k, name in enumerate(short)]


def classes(measured: Measurements, names: Sequence[str]) -> Classes:
    matrix = measured.confusion
    images, right = matrix.sum(axis=1), int(np.trace(matrix))
    total = int(matrix.sum())
    about = f"{right:,} of {total:,} test images are predicted rightly, {total - right:,} wrongly."
    chart = _chart(matrix, names) if 1 < len(names) <= MOST_CLASSES else None
    if chart is None and len(names) > MOST_CLASSES:
        about += f" A matrix of {len(names)} classes is not drawn."
    return Classes(chart, _by_class(matrix, images, names), _confusions(matrix, images, names), about)


def _by_class(matrix: NDArray[np.int64], images: NDArray[np.int64], names: Sequence[str]) -> Table:
    predicted = matrix.sum(axis=0)
    rows = []
    for k, name in enumerate(names):
        right = int(matrix[k, k])
        recall, precision = (_share(right, int(of[k])) for of in (images, predicted))
        both = int(images[k] + predicted[k])
        rows.append([name, f"{int(images[k]):,}", recall, f"{int(predicted[k]):,}", precision, _share(2 * right, both)])
    header = ["class", "images", "recall", "predicted", "precision", "F1"]
    return Table("Precision and recall by class, on the test set; recall is the accuracy on a class", header, rows)


def _confusions(matrix: NDArray[np.int64], images: NDArray[np.int64], names: Sequence[str]) -> Table | None:
    """The most frequent ones."""
    wrong = matrix - np.diag(np.diag(matrix))
    places = [place for place in np.argsort(-wrong.ravel(), kind="stable")[:CONFUSIONS] if wrong.ravel()[place]]
    pairs = [divmod(int(place), len(names)) for place in places]
    rows = [
        [names[true], names[taken], f"{int(wrong[true, taken]):,}", _share(int(wrong[true, taken]), int(images[true]))]
        for true, taken in pairs
    ]
    return (
        Table("The most frequent confusions", ["class", "taken for", "images", "of its images"], rows) if rows else None
    )


def _share(part: int, of: int) -> str:
    return percent(part / of if of else None, 1)


def _chart(matrix: NDArray[np.int64], names: Sequence[str]) -> Chart:
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    rows = [
        [names[true], names[taken], int(matrix[true, taken]), rounded(float(shares[true, taken]), 3)]
        for true in range(len(names))
        for taken in range(len(names))
        if matrix[true, taken]
    ]
    table = Table(
        "Confusion matrix: images of a class, by row, and what they were taken for, by column",
        ["class", *names],
        [[name, *(str(count) for count in row)] for name, row in zip(names, matrix.tolist(), strict=True)],
    )
    said = (
        f"A matrix of {len(names)} classes: a row for each true class, a column for each predicted one; the darker a "
        "cell, the larger its share of the row. "
    )
    least = int(np.argmin(np.where(matrix.sum(axis=1) > 0, np.diag(shares), 2)))
    said += f"Of the class {names[least]} the smallest share is right, {percent(shares[least, least], 1)}."
    return Chart(
        "confusion",
        "Confusion matrix",
        said,
        _heat_map(names),
        {"rows": (("true", "taken", "n", "share"), rows)},
        table,
    )


def _heat_map(names: Sequence[str]) -> Specification:
    many = len(names) > MOST_NUMBERED
    longest = max(map(len, names))
    side = {"type": "ordinal", "scale": {"domain": list(names), "paddingInner": 0 if many else 0.04}}
    labels = {"labelLimit": 130, "labelOverlap": many, "labelFontSize": 9 if many else 11}
    across = {"labelAngle": -40 if longest > 3 else 0, "domain": False, "orient": "top", **labels}
    x = {"field": "taken", **side, "title": "predicted", "axis": across}
    y = {"field": "true", **side, "title": "true", "axis": {**labels, "grid": False}}
    tooltip = [
        {"field": "true", "title": "true"},
        {"field": "taken", "title": "predicted"},
        {"field": "n", "title": "images", "format": ","},
        {"field": "share", "title": "of the class", "format": ".1%"},
    ]
    # what is rare is to be seen, too
    opacity = {
        "field": "share",
        "type": "quantitative",
        "legend": None,
        "scale": {"type": "pow", "exponent": 0.6, "domain": [0, 1], "range": [0.04, 1]},
    }
    cell = {"mark": {"type": "rect", "fill": "var(--s1)"}, "encoding": {"opacity": opacity, "tooltip": tooltip}}
    number = {
        "mark": {
            "type": "text",
            "fontSize": {"expr": "width < 300 ? 9 : 11"},
            "fill": {"expr": "datum.share > 0.4 ? 'var(--card)' : 'var(--text)'"},
        },
        "encoding": {"text": {"field": "n", "format": ",", "type": "quantitative"}, "tooltip": tooltip},
    }
    height = max(240, min(700, 46 * len(names) + 100))
    return {
        "width": "container",
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        "data": {"name": "rows"},
        "encoding": {"x": x, "y": y},
        "layer": [cell] if many else [cell, number],
    }
