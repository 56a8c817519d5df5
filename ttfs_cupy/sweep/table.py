"""What a sweep says at its end: a row for each setting."""

import statistics
from collections.abc import Sequence

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.sweep.plan import PlannedRun, Setting, by_setting
from ttfs_cupy.sweep.results import Failures, Result, Results

CAPTION = (
    "accuracies in %: of validation the mean of the runs' best, of the test set the mean and the sample standard "
    "deviation (n - 1) over seeds, and each seed's"
)
BEST = "* the best setting by its mean validation accuracy, so that the test set has chosen nothing"

# characters of a setting
WIDEST = 80


def lines(runs: Sequence[PlannedRun], results: Results, failures: Failures) -> list[str]:
    """The table, in the order of the settings, and what it means; then the failures."""
    groups = by_setting(runs)
    best = _best(groups, results)
    rows = [["setting", "validation", "test", "std", *(f"seed {run.seed}" for run in groups[0][1])]]
    for setting, own in groups:
        label = one_line(setting.label, WIDEST)
        found = [results[run.name] for run in own if run.name in results]
        values = [_value(run.name, results, failures) for run in own]
        rows.append([f"{label} *" if setting is best else label, *summary(found), *values])
    failed = [f"failed: {name}: {one_line(error)}" for name, error in failures.items()]
    return [CAPTION, *aligned(rows, left=1), *([BEST] if best else []), *failed]


def _best(groups: Sequence[tuple[Setting, Sequence[PlannedRun]]], results: Results) -> Setting | None:
    """Of several settings, and among those whose runs are all finished: else they would not be of the same seeds."""
    means = [
        (statistics.fmean(results[run.name].best_validation_accuracy for run in own), setting)
        for setting, own in groups
        if all(run.name in results for run in own)
    ]
    # of equal ones the first
    return max(means, key=lambda pair: pair[0])[1] if means and len(groups) > 1 else None


def summary(found: Sequence[Result]) -> list[str]:
    """In %: the mean best validation accuracy, the mean test accuracy, and its sample standard deviation (n - 1)."""
    if not found:
        return ["-", "-", "-"]
    tests = [result.test_accuracy for result in found]
    deviation = f"{100 * statistics.stdev(tests):.2f}" if len(tests) > 1 else "-"
    validation = statistics.fmean(result.best_validation_accuracy for result in found)
    return [f"{100 * validation:.2f}", f"{100 * statistics.fmean(tests):.2f}", deviation]


def _value(name: str, results: Results, failures: Failures) -> str:
    if name in results:
        return f"{100 * results[name].test_accuracy:.2f}"
    return "failed" if name in failures else "-"
