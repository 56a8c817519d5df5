"""The study as one Markdown table."""

from collections.abc import Iterator, Sequence

import numpy as np

from ttfs_cupy.benchmarks.slope_study.measurement import NOISES, Measured

EXPLANATION = (
    "Accuracy on the test set in percent, with the weights that validation chose. Firing rates: the share of neurons "
    "that spike, layer by layer. Synaptic operations of an image, in millions, and their share of the dense count. "
    "Under each noise: predictions that change, in percent, and in brackets the accuracy. Mean: with the least and "
    "the largest accuracy of its runs."
)


def groups(runs: Sequence[Measured]) -> dict[tuple[str, str], list[Measured]]:
    """Runs that differ in their seed alone, by slope and normalization, in the order in which they came."""
    found: dict[tuple[str, str], list[Measured]] = {}
    for run in runs:
        found.setdefault((run.slope, run.normalization), []).append(run)
    return found


def line(run: Measured) -> str:
    """One run, as it ends."""
    return (
        f"psp_slope {run.slope}, normalization {run.normalization}, seed {run.seed}: {run.accuracy:.2%}, "
        f"{run.spikes / 1e6:.2f} of {run.dense / 1e6:.2f} million synaptic operations"
    )


def report(runs: Sequence[Measured]) -> Iterator[str]:
    """The lines of the table, and what is in it: for each group its mean, then each run."""
    yield EXPLANATION
    yield ""
    head = ["psp_slope", "normalization", "run", "accuracy", "firing rates", "operations", *NOISES]
    yield _row(head)
    yield _row(["---"] * len(head))
    for (slope, normalization), group in groups(runs).items():
        if len(group) > 1:
            accuracies = [run.accuracy for run in group]
            span = f" ({100 * min(accuracies):.2f} to {100 * max(accuracies):.2f})"
            yield _row([slope, normalization, f"mean of {len(group)}", *_cells(group, span)])
        for run in group:
            yield _row([slope, normalization, f"seed {run.seed}", *_cells([run])])


def _cells(group: Sequence[Measured], span: str = "") -> Iterator[str]:
    """The means over a group; span follows the accuracy."""
    yield f"{100 * np.mean([run.accuracy for run in group]):.2f}{span}"
    yield " ".join(f"{np.mean([run.firing_rates[name] for run in group]):.2f}" for name in group[0].firing_rates)
    spikes, dense = np.mean([run.spikes for run in group]), group[0].dense
    yield f"{spikes / 1e6:.2f} ({spikes / dense:.0%})"
    for name in NOISES:
        changed, accuracy = (
            100 * np.mean([getattr(run.noises[name], what) for run in group]) for what in ("changed", "accuracy")
        )
        yield f"{changed:.2f} ({accuracy:.2f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
