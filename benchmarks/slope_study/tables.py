"""The study as one Markdown table."""

from collections.abc import Iterator, Sequence

import numpy as np

from ttfs_cupy.benchmarks.slope_study.measurement import NOISES, Measured

EXPLANATION = (
    "Each line has the means of its runs. Accuracy: on the test set, in percent, by the weights that validation chose; "
    "in brackets that of each run, by seed. Firing rates: the share of neurons that spike, by layer. Operations: "
    "synaptic ones of an image, in millions, and as a share of all if every neuron spiked; of a direct "
    "code without the first layer. Under each noise: predictions that change, in percent; in brackets the accuracy."
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
    """The lines of the table, and what is in it."""
    yield EXPLANATION
    yield ""
    head = ["psp_slope", "normalization", "accuracy", "firing rates", "operations", *NOISES]
    yield _row(head)
    yield _row(["---"] * len(head))
    for (slope, normalization), group in groups(runs).items():
        yield _row([slope, normalization, *_cells(group)])


def _cells(group: Sequence[Measured]) -> Iterator[str]:
    each = [f"{100 * run.accuracy:.2f}" for run in group]
    yield f"{100 * np.mean([run.accuracy for run in group]):.2f} ({', '.join(each)})"
    yield ", ".join(f"{np.mean([run.firing_rates[name] for run in group]):.2f}" for name in group[0].firing_rates)
    spikes, dense = np.mean([run.spikes for run in group]), group[0].dense
    yield f"{spikes / 1e6:.2f} ({spikes / dense:.0%})"
    for name in NOISES:
        changed, accuracy = (
            100 * np.mean([getattr(run.noises[name], what) for run in group]) for what in ("changed", "accuracy")
        )
        yield f"{changed:.1f} ({accuracy:.1f})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
