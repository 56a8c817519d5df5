"""Which runs were made by the same settings, and what each group of them is called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttfs_cupy.common.shown import one_line, printable, shown
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.changes import changed, of_results
from ttfs_cupy.robustness.measurement import Measured

# characters of a group's name
WIDEST = 80
# and of a path in it
LONGEST = 40
ROOT = "data.root"


@dataclass(frozen=True)
class MeasuredRun:
    """name: its directory, as it was typed. epoch: after which its weights were taken. data: what tells its images from
    others; runs without it are taken to have the same."""

    name: str
    config: Config
    epoch: int
    device: str
    precision: str
    measured: Measured
    data: str = ""


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds at most. label: what tells it from the other groups; empty if it is the only
    one."""

    label: str
    runs: tuple[MeasuredRun, ...]


def groups(runs: Sequence[MeasuredRun]) -> list[Group]:
    """In the order of their first runs."""
    differences = [_differences(runs[0], run) for run in runs]
    varied = list(dict.fromkeys(key for found in differences for key in found))
    of_first = {key: old for found in differences for key, (old, _) in found.items()}
    grouped: dict[str, list[MeasuredRun]] = {}
    labels: dict[str, str] = {}
    for run, found in zip(runs, differences, strict=True):
        values = {key: found[key][1] if key in found else of_first[key] for key in varied}
        whole = repr(values)
        labels.setdefault(whole, one_line(_label(values), WIDEST))
        grouped.setdefault(whole, []).append(run)
    return [Group(label, tuple(grouped[whole])) for whole, label in _told_apart(labels).items()]


def _told_apart(labels: Mapping[str, str]) -> dict[str, str]:
    """Of labels that are the same once they are cut short, each with its number."""
    found: dict[str, str] = {}
    for whole, label in labels.items():
        same = sum(labels[other] == label for other in found)
        found[whole] = f"{label} ({same + 1})" if same else label
    return found


def _differences(before: MeasuredRun, after: MeasuredRun) -> dict[str, tuple[Any, Any]]:
    found = {key: values for key, values in of_results(before.config, after.config).items() if key != "seed"}
    roots = changed(before.config, after.config).get(ROOT)
    # of folders and files of one's own, what lies there is the data set; any other is the same wherever it lies
    if roots is not None and before.data != after.data:
        found[ROOT] = roots
    return found


def _label(values: Mapping[str, Any]) -> str:
    """By the last part of each key that has it alone."""
    last = [key.rpartition(".")[2] for key in values]
    names = [key if last.count(short) > 1 else short for key, short in zip(values, last, strict=True)]
    return ", ".join(f"{name}={_shown(value)}" for name, value in zip(names, values.values(), strict=True))


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if not isinstance(value, str):
        return shown(value)
    # what tells two paths from each other is more often at their ends
    text = printable(value)
    return text if len(text) <= LONGEST else f"...{text[3 - LONGEST :]}"
