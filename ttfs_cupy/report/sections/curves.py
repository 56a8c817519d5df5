"""A run's curves over its epochs, from metrics.jsonl alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ttfs_cupy.common.shown import shown
from ttfs_cupy.experiment.files.metrics import AFTER
from ttfs_cupy.report.drawing.charts import NONE, Chart, Series, Table, percent, rounded
from ttfs_cupy.report.drawing.line_charts import FEW, PERCENT, SHORT, lines
from ttfs_cupy.report.gathering.reading import Line, RunFiles, by_layer, number

# points of a line, and rows of a table: of more epochs every second, third, ... is shown
MOST_POINTS, MOST_ROWS = 600, 100

# By chart: each line's name and the key of its values
LOSSES = {
    "training": "train_loss",
    "validation": "validation_loss",
    "validation, averaged weights": "average_validation_loss",
    "validation, trained weights": "current_validation_loss",
}
ACCURACIES = {
    "training": "train_accuracy",
    "validation": "validation_accuracy",
    "validation, averaged weights": "average_validation_accuracy",
    "validation, trained weights": "current_validation_accuracy",
    "validation, mean of classes": "validation_balanced_accuracy",
}
# with an average these say which of the two was the better one, which the other lines show
KEPT = ("validation_loss", "validation_accuracy")

# charts on which the best epoch is marked
JUDGED = ("loss", "accuracy")

# those whose scale is logarithmic where they run over WIDE times their least value
LOGARITHMIC, WIDE = ("loss",), 100

Item = TypeVar("Item")
Values = Mapping[str, Sequence[float | None]]


def curves(files: RunFiles) -> list[Chart]:
    """Those for which the run has numbers."""
    epochs = thinned(files.epochs, MOST_POINTS)
    if not epochs:
        return []
    averaged = any("average_validation_loss" in line for line in epochs)
    losses, accuracies = (of_keys(epochs, _without(keys, averaged)) for keys in (LOSSES, ACCURACIES))
    slope = _moving(of_keys(epochs, {"psp_slope": "psp_slope"}))
    skipped, clipped = (_some(of_keys(epochs, {name: f"{name}_steps"})) for name in ("skipped", "clipped"))
    rate, seconds = {"learning rate": "learning_rate"}, {"training": "seconds"}
    neurons, steps = "share of neurons", "steps of the epoch"
    wanted: list[tuple[str, str, Values, str, str, bool]] = [
        ("loss", "Loss", losses, "cross-entropy", SHORT, False),
        ("accuracy", "Accuracy", accuracies, "share of images", PERCENT, False),
        ("rates", "Firing rates", of_layers(epochs, "firing_rates"), neurons, PERCENT, True),
        ("saturations", "Spikes as the window opens", of_layers(epochs, "saturations"), neurons, PERCENT, True),
        ("lr", "Learning rate", of_keys(epochs, rate), "learning rate", SHORT, True),
        ("slope", "psp_slope", slope, "psp_slope λ", SHORT, True),
        ("seconds", "Time of an epoch", of_keys(epochs, seconds), "seconds", SHORT, True),
        ("skipped", "Skipped steps", skipped, steps, SHORT, True),
        ("clipped", "Steps whose gradient was clipped", clipped, steps, SHORT, True),
    ]
    found = (_chart(files, epochs, *one) for one in wanted)
    return [chart for chart in found if chart is not None]


def thinned(many: Sequence[Item], most: int) -> list[Item]:
    """About so many of them: every one, or every second, third, ... and the last."""
    stride = max(1, -(-len(many) // most))
    return [one for place, one in enumerate(many) if place % stride == 0 or place == len(many) - 1]


def of_keys(epochs: Sequence[Line], keys: Mapping[str, str]) -> Values:
    """By name, what each epoch's line has at its key; without those of which no line has a number."""
    found = {name: [number(line, key) for line in epochs] for name, key in keys.items()}
    return {name: values for name, values in found.items() if any(value is not None for value in values)}


def of_layers(epochs: Sequence[Line], key: str) -> Values:
    """By layer; of the weights that are trained on, where there is an average, too."""
    every = [by_layer(line, f"current_{key}", key) for line in epochs]
    names = dict.fromkeys(name for rates in every for name in rates)
    return {name: [rates.get(name) for rates in every] for name in names}


def is_wide(values: Iterable[Any]) -> bool:
    """Whether a logarithmic scale shows them better: all above 0, the largest WIDE times the least."""
    found = list(values)
    return bool(found) and 0 < WIDE * min(found) <= max(found)


def changed(files: RunFiles) -> list[tuple[int, str]]:
    """After which epochs settings changed, and which: "training.epochs: 30 → 60"."""
    return [(int(line[AFTER]), ", ".join(_settings(line["changes"]))) for line in files.changes]


def marks(files: RunFiles, *, best: bool) -> list[tuple[float, str, str]]:
    """Epochs to be marked: those after which settings changed, and the best one; (x, label, the label's alignment)."""
    found = [(epoch + 0.5, "settings changed") for epoch, _ in changed(files)]
    if best and files.best_epoch is not None:
        found.append((float(files.best_epoch), "best epoch"))
    last = max((line["epoch"] for line in files.epochs), default=1)
    return [
        (x, label, "right" if x > 0.8 * last else "left" if x < 0.2 * last else "center") for x, label in sorted(found)
    ]


def text_of(value: float | None, number_format: str) -> str:
    """A cell of a table, as the chart's axis would have it."""
    if value is None:
        return NONE
    return percent(value) if number_format.endswith("%") else f"{value:.4g}"


def table_of(caption: str, epochs: Sequence[int], values: Values, number_format: str) -> Table:
    """A row for each epoch, or for about MOST_ROWS of them."""
    places = thinned(range(len(epochs)), MOST_ROWS)
    rows = [[str(epochs[row]), *(text_of(column[row], number_format) for column in values.values())] for row in places]
    note = "" if len(rows) == len(epochs) else f"{len(rows)} of its epochs; metrics.csv has all of them"
    return Table(caption, ["epoch", *values], rows, note)


def _chart(
    files: RunFiles,
    epochs: Sequence[Line],
    name: str,
    title: str,
    values: Values,
    y_title: str,
    number_format: str,
    zero: bool,
) -> Chart | None:
    if not values:
        return None
    series = [Series(f"s{place}", label, place) for place, label in enumerate(values)]
    x = [int(line["epoch"]) for line in epochs]
    rows = [
        [epoch, rounded(value), one.key]
        for one, column in zip(series, values.values(), strict=True)
        for epoch, value in zip(x, column, strict=True)
        if value is not None
    ]
    log = name in LOGARITHMIC and is_wide(row[1] for row in rows)
    left_out = len(files.epochs) - len(epochs)
    note = f"{len(epochs)} of {len(files.epochs)} epochs are shown." if left_out else ""
    return Chart(
        f"curve-{name}",
        title,
        f"{title} by epoch. {_in_words(values, x, number_format)}",
        lines(
            series,
            y_title,
            y_format=number_format,
            log=log,
            zero=zero,
            dots=len(x) <= FEW,
        ),
        {"rows": (("x", "y", "s"), rows), "marks": (("x", "label", "align"), marks(files, best=name in JUDGED))},
        table_of(f"{title} by epoch", x, values, number_format),
        series,
        toggles=len(series) > 1,
        note=note,
    )


def _in_words(values: Values, x: Sequence[int], number_format: str) -> str:
    """First, last, lowest and highest of each line."""
    said = []
    for name, column in values.items():
        known = [(epoch, value) for epoch, value in zip(x, column, strict=True) if value is not None]
        (first, begin), (last, end) = known[0], known[-1]
        low, high = min(value for _, value in known), max(value for _, value in known)
        texts = [text_of(value, number_format) for value in (begin, end, low, high)]
        course = f"{texts[0]} after epoch {first}, {texts[1]} after epoch {last}"
        said.append(f"{name}: {course}, between {texts[2]} and {texts[3]}.")
    return " ".join(said)


def _without(keys: Mapping[str, str], averaged: bool) -> Mapping[str, str]:
    return {name: key for name, key in keys.items() if not (averaged and key in KEPT)}


def _moving(values: Values) -> Values:
    """Nothing where it is the same in all epochs."""
    return {name: column for name, column in values.items() if len(set(column)) > 1}


def _some(values: Values) -> Values:
    """Nothing where it is 0 in all epochs."""
    return {name: column for name, column in values.items() if any(column)}


def _settings(changes: Mapping[str, Any]) -> Iterable[str]:
    for key, values in changes.items():
        both = isinstance(values, list) and len(values) == 2
        yield f"{key}: {shown(values[0])} → {shown(values[1])}" if both else f"{key}: {shown(values)}"
