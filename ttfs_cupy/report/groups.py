"""Runs that are the same but for their seed, as groups; what of their configs differs, and their curves' means."""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.shown import one_line, shown
from ttfs_cupy.experiment.config import changes
from ttfs_cupy.report.drawing.charts import NONE, Chart, Series, Table, percent, rounded
from ttfs_cupy.report.drawing.line_charts import FEW, PERCENT, SHORT, lines
from ttfs_cupy.report.gathering.reading import Line, RunFiles, by_layer, number
from ttfs_cupy.report.sections.curves import is_wide, table_of, text_of, thinned
from ttfs_cupy.sweep import table as sweep_table

# points of all lines of a chart, and of one line
MOST_POINTS, MOST_OF_LINE = 12000, 600
# characters of a setting's value, and of a group's name
WIDEST, LONGEST = 60, 40
# called among the settings: the images and labels themselves
DATA = "the data"


@dataclass(frozen=True)
class Group:
    """Runs whose configs have the same results but for the seed. label: what sets it apart from the others."""

    label: str
    runs: list[RunFiles]


def grouped(runs: Sequence[RunFiles]) -> list[Group]:
    """In the order of their first runs. A run whose config cannot be read is a group of its own."""
    found: list[list[RunFiles]] = []
    for run in runs:
        for group in found:
            if _differing(group[0], run) == {}:
                group.append(run)
                break
        else:
            found.append([run])
    keys = differing([Group("", group) for group in found])
    labels = [_label(group, keys) for group in found]
    return [
        Group(label if labels.count(label) == 1 else f"{label} ({place})", group)
        for place, (label, group) in enumerate(zip(labels, found, strict=True), 1)
    ]


def differing(groups: Sequence[Group]) -> list[str]:
    """The dotted keys that are not the same in all groups and make other results."""
    known = [group.runs[0] for group in groups if group.runs[0].config is not None]
    return list(dict.fromkeys(key for other in known[1:] for key in _differing(known[0], other) or {}))


def results(groups: Sequence[Group]) -> Table:
    """A row for each group: its seeds and what came of them."""
    rows = []
    for group in groups:
        found = [run.result for run in group.runs if run.result is not None]
        seeds = ", ".join(str(run.config.seed) if run.config else "?" for run in group.runs)
        rows.append([group.label, seeds, f"{len(found)} of {len(group.runs)}", *sweep_table.summary(found)])
    header = ["group", "seeds", "finished", "validation, %", "test, %", "deviation"]
    caption = "Means over seeds; the sample standard deviation (n - 1) is that of the test accuracy"
    return Table(caption, header, rows, "; ".join(filter(None, map(_same_seeds, groups))))


def _same_seeds(group: Group) -> str:
    """Says that runs of one seed are counted one by one, though hardly independent; nothing where there are none."""
    counts = Counter(run.config.seed for run in group.runs if run.config is not None)
    seeds = [str(seed) for seed, count in counts.items() if count > 1]
    return f"{group.label} has several runs of seed {', '.join(seeds)}, each of which counts" if seeds else ""


def settings(groups: Sequence[Group]) -> Table | None:
    """A row for each setting that is not the same in all groups; None without."""
    rows = [[key, *(_value(group.runs[0], key) for group in groups)] for key in differing(groups)]
    return Table("Settings that differ", ["setting", *(group.label for group in groups)], rows) if rows else None


def each(groups: Sequence[Group]) -> Table:
    """A row for each run."""
    rows = []
    for group in groups:
        for run in group.runs:
            test, result = run.test, run.result
            loss = number(test, "test_loss")
            rows.append(
                [
                    run.name,
                    group.label,
                    str(run.config.seed) if run.config else NONE,
                    percent(number(test, "test_accuracy")),
                    NONE if loss is None else f"{loss:.4f}",
                    percent(result.best_validation_accuracy if result else None),
                    str(result.best_epoch) if result else NONE,
                    str(len(run.epochs)),
                    f"{sum(number(line, 'seconds') or 0 for line in run.epochs):,.1f}",
                ]
            )
    header = ["run", "group", "seed", "test", "test loss", "validation", "best epoch", "epochs", "seconds"]
    return Table("Results of each run", header, rows)


def by_class(groups: Sequence[Group], names: Sequence[str] | None) -> Table | None:
    """The mean test accuracy of each class; None where the runs are not all of one data set."""
    runs = [run for group in groups for run in group.runs]
    if (
        len({run.config.data.dataset if run.config else None for run in runs}) > 1
        or len({run.data for run in runs}) > 1
    ):
        return None
    found = [[one for run in group.runs if (one := _class_accuracies(run)) is not None] for group in groups]
    counts = {len(one) for group in found for one in group}
    if len(counts) != 1 or not all(found):
        return None
    (count,) = counts
    rows = []
    for k in range(count):
        means = [_mean([one[k] for one in group if isinstance(one[k], (int, float))]) for group in found]
        rows.append([names[k] if names is not None and len(names) == count else str(k), *map(percent, means)])
    return Table("Test accuracy by class, means over seeds", ["class", *(group.label for group in groups)], rows)


def overlaid(groups: Sequence[Group]) -> list[Chart]:
    """Curves with a line for each group, the mean of its runs, and a band from the lowest of them to the highest."""
    wanted: list[tuple[str, str, Callable[[Line], float | None], str, str, bool]] = [
        ("val-accuracy", "Validation accuracy", _of("validation_accuracy"), "share of images", PERCENT, False),
        ("val-loss", "Validation loss", _of("validation_loss"), "cross-entropy", SHORT, False),
        ("accuracy", "Training accuracy", _of("train_accuracy"), "share of images", PERCENT, False),
        ("loss", "Training loss", _of("train_loss"), "cross-entropy", SHORT, False),
        ("rate", "Firing rate, mean of the layers", _firing_rate, "share of neurons", PERCENT, True),
        ("lr", "Learning rate", _of("learning_rate"), "learning rate", SHORT, True),
        ("slope", "psp_slope", _of("psp_slope"), "psp_slope λ", SHORT, True),
        ("seconds", "Time of an epoch", _of("seconds"), "seconds", SHORT, True),
    ]
    charts = (_overlay(groups, *one) for one in wanted)
    return [chart for chart in charts if chart is not None]


def _overlay(
    groups: Sequence[Group],
    name: str,
    title: str,
    value: Callable[[Line], float | None],
    y_title: str,
    number_format: str,
    zero: bool,
) -> Chart | None:
    series = [Series(f"s{place}", group.label, place) for place, group in enumerate(groups)]
    epochs = _epochs(groups)
    rows, means, said = [], {}, []
    for one, group in zip(series, groups, strict=True):
        of_runs = [
            {int(line["epoch"]): found for line in run.epochs if (found := value(line)) is not None}
            for run in group.runs
        ]
        column: list[float | None] = []
        for epoch in epochs:
            values = [run[epoch] for run in of_runs if epoch in run]
            mean = _mean(values)
            column.append(mean)
            if mean is not None:
                rows.append([epoch, rounded(mean), one.key, rounded(min(values)), rounded(max(values))])
        means[group.label] = column
        known = [found for found in column if found is not None]
        if known:
            said.append(f"{group.label}: {text_of(known[0], number_format)} to {text_of(known[-1], number_format)}")
    # what does not move stands among the settings
    if not rows or (name == "slope" and all(len(set(column)) <= 2 for column in means.values())):
        return None
    log = name in ("loss", "val-loss") and is_wide(value for row in rows for value in (row[1], row[3]))
    specification = lines(
        series,
        y_title,
        log=log,
        y_format=number_format,
        zero=zero,
        dots=len(epochs) <= FEW,
        band=any(len(group.runs) > 1 for group in groups),
    )
    data = {"rows": (("x", "y", "s", "low", "high"), rows), "marks": (("x", "label", "align"), ())}
    description = f"{title} by epoch, the mean of each group's runs. {'; '.join(said)}."
    table = table_of(f"{title} by epoch, means", epochs, means, number_format)
    return Chart(f"overlay-{name}", title, description, specification, data, table, series, toggles=len(series) > 1)


def _epochs(groups: Sequence[Group]) -> list[int]:
    """Which are shown: all that any run has, or every second, third, ... of them, and the last."""
    every = sorted({int(line["epoch"]) for group in groups for run in group.runs for line in run.epochs})
    return thinned(every, max(2, min(MOST_OF_LINE, MOST_POINTS // len(groups))))


def _of(key: str) -> Callable[[Line], float | None]:
    return lambda line: number(line, key)


def _firing_rate(line: Line) -> float | None:
    return _mean(list(by_layer(line, "firing_rates").values()))


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _differing(one: RunFiles, other: RunFiles) -> Mapping[str, Any] | None:
    """What of two runs' configs makes other results, but for the seed, and their data where they are known; None where
    a config is missing."""
    if one.config is None or other.config is None:
        return None
    found = {key: values for key, values in changes.of_results(one.config, other.config).items() if key != "seed"}
    # a data set of the same name, such as a folder, may be another one
    if "data.dataset" not in found and None not in (one.data, other.data) and one.data != other.data:
        found[DATA] = (one.data, other.data)
    return found


def _value(run: RunFiles, key: str) -> str:
    if run.config is None:
        return "?"
    if key == DATA:
        return run.data or NONE
    value: Any = run.config.model_dump(mode="json", by_alias=True)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return one_line(value, WIDEST) if isinstance(value, str) else shown(value, WIDEST)


def _label(runs: Sequence[RunFiles], keys: Sequence[str]) -> str:
    """The settings that set them apart where that is short; else the name of the first."""
    if keys and runs[0].config is not None:
        text = ", ".join(f"{key.rpartition('.')[2]} {_value(runs[0], key)}" for key in keys)
        if len(text) <= LONGEST:
            return text
    name = one_line(runs[0].name, LONGEST)
    return name if len(runs) == 1 else f"{name} and {len(runs) - 1} more"


def _class_accuracies(run: RunFiles) -> list[Any] | None:
    found = None if run.test is None else run.test.get("class_accuracies")
    return found if isinstance(found, list) else None
