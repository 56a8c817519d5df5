"""What was measured as rows: for the console, and as CSV and JSON for other programs."""

import csv
import io
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.robustness.measurement import Pass, Point
from ttfs_cupy.robustness.settings import Group, MeasuredRun

# what stands for a disturbance where there is none
CLEAN = "none"
COLUMNS = ("run", "setting", "seed", "disturbance", "level", "noise_seed", "accuracy", "changed", "firing_rate")


@dataclass(frozen=True)
class Row:
    """A group's means at one level, shares in [0, 1]. level: None without disturbance. deviation: the sample deviation
    (n - 1) of the accuracy, over the runs' means, or over noise seeds where there is one run; None of a single value.
    lost: how much less accurate than without disturbance."""

    setting: str
    disturbance: str
    level: float | None
    accuracy: float
    deviation: float | None
    lost: float
    changed: float
    firing_rate: float


def rows(groups: Sequence[Group]) -> list[Row]:
    """Without disturbance first; of each level a row for each group, side by side."""
    clean = [_row(group, CLEAN, None, [(run.measured.clean,) for run in group.runs]) for group in groups]
    points = range(len(groups[0].runs[0].measured.points))
    return clean + [_row_of(group, place) for place in points for group in groups]


def lines(groups: Sequence[Group]) -> list[str]:
    """The table for a console; accuracies and shares in percent."""
    several = len(groups) > 1
    setting = ["setting"] if several else []
    table = [["disturbance", "level", *setting, "accuracy", "+-", "lost", "changed", "firing rate"]]
    for row in rows(groups):
        level = "" if row.level is None else f"{row.level:g}"
        deviation = "-" if row.deviation is None else f"{100 * row.deviation:.2f}"
        shares = [f"{100 * share:.2f}" for share in (row.lost, row.changed)]
        names = [row.disturbance, level, *([row.setting] if several else [])]
        table.append([*names, f"{100 * row.accuracy:.2f}", deviation, *shares, f"{row.firing_rate:.3f}"])
    return [_caption(groups), *aligned(table, left=3 if several else 2)]


def _caption(groups: Sequence[Group]) -> str:
    images = groups[0].runs[0].measured.images
    over = "noise seeds" if all(len(group.runs) == 1 for group in groups) else "runs, or noise seeds of a single one"
    return (
        f"on {images} test images, in %: accuracy and its sample deviation (n - 1) over {over}, how much is lost, "
        "and predictions that change"
    )


def csv_text(groups: Sequence[Group]) -> str:
    """A line for each pass over the images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group in groups:
        for run in group.runs:
            of_run = [run.name, group.label, run.config.seed]
            for name, level, one in _passes(run):
                writer.writerow([*of_run, name, level, one.seed, one.accuracy, one.changed, one.firing_rate])
    return text.getvalue()


def json_text(groups: Sequence[Group]) -> str:
    """The rows of the table, and every pass behind them."""
    runs = [_run(group, run) for group in groups for run in group.runs]
    content = {"images": groups[0].runs[0].measured.images, "rows": [asdict(row) for row in rows(groups)], "runs": runs}
    return json.dumps(content, indent=1) + "\n"


def _run(group: Group, run: MeasuredRun) -> dict[str, Any]:
    measured = run.measured
    return {
        "run": run.name,
        "setting": group.label,
        "seed": run.config.seed,
        "epoch": run.epoch,
        "device": run.device,
        "precision": run.precision,
        "clean": {"accuracy": measured.clean.accuracy, "firing_rate": measured.clean.firing_rate},
        "points": [asdict(point) for point in measured.points],
    }


def _passes(run: MeasuredRun) -> Iterator[tuple[str, float | str, Pass]]:
    yield CLEAN, "", run.measured.clean
    for point in run.measured.points:
        yield from ((point.kind, point.level, one) for one in point.passes)


def _row_of(group: Group, place: int) -> Row:
    points = [run.measured.points[place] for run in group.runs]
    point: Point = points[0]
    return _row(group, point.kind, point.level, [one.passes for one in points])


def _row(group: Group, name: str, level: float | None, passes: Sequence[tuple[Pass, ...]]) -> Row:
    """passes: of each run."""

    def mean(value: str) -> float:
        return statistics.fmean(statistics.fmean(getattr(one, value) for one in own) for own in passes)

    of_runs = [statistics.fmean(one.accuracy for one in own) for own in passes]
    spread = of_runs if len(of_runs) > 1 else [one.accuracy for one in passes[0]]
    deviation = statistics.stdev(spread) if len(spread) > 1 else None
    clean = statistics.fmean(run.measured.clean.accuracy for run in group.runs)
    accuracy = mean("accuracy")
    return Row(group.label, name, level, accuracy, deviation, clean - accuracy, mean("changed"), mean("firing_rate"))
