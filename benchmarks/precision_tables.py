"""The study of precision as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ttfs_cupy.benchmarks.precision import Evaluated, Trained
    from ttfs_cupy.benchmarks.precision_evaluation import Outcome, Sums

WIDTH = 18


def line(trained: Trained) -> str:
    """One run, as it ends."""
    own, exact = trained.own, trained.float32
    return (
        f"{trained.variant:{WIDTH}} seed {trained.seed}: {own.accuracy:.2%}, in float32 {exact.accuracy:.2%}, "
        f"{own.changed} predictions changed, flips {_flips(own)}; {trained.seconds:.0f} s of training"
    )


def report(trained: Sequence[Trained], evaluated: Sequence[Evaluated], sums: Sequence[Sums]) -> Iterator[str]:
    """All tables, in Markdown."""
    layers = list(trained[0].own.flips)
    yield _row("forward/backward", "seed", "accuracy", "in float32", "changed", *(f"flips, {name}" for name in layers))
    yield _row(*["---"] * (5 + len(layers)))
    for run in sorted(trained, key=lambda run: [other.variant for other in trained].index(run.variant)):
        flips = [f"{run.own.flipped(name):.1e}" for name in layers]
        yield _row(run.variant, run.seed, *_accuracies(run.own, run.float32), run.own.changed, *flips)
    if evaluated:
        yield ""
        yield _row("evaluated with", "seed", "accuracy", "changed", *(f"flips, {name}" for name in layers))
        yield _row(*["---"] * (4 + len(layers)))
    for each in sorted(evaluated, key=lambda each: [other.forward for other in evaluated].index(each.forward)):
        outcome = each.outcome
        flips = [f"{outcome.flipped(name):.1e}" for name in layers]
        yield _row(each.forward, each.seed, f"{outcome.accuracy:.2%}", outcome.changed, *flips)
    if sums:
        yield ""
        yield _row(f"operands of {sums[0].layer}", "error of A", "error of S", f"flips of {sums[0].neurons:,} neurons")
        yield _row(*["---"] * 4)
    for row in sums:
        yield _row(row.operands, f"{row.drive:.1e}", f"{row.weight_sum:.1e}", row.flips)


def _accuracies(*outcomes: Outcome) -> list[str]:
    return [f"{outcome.accuracy:.2%}" for outcome in outcomes]


def _flips(outcome: Outcome) -> str:
    return " ".join(f"{outcome.flipped(name):.1e}" for name in outcome.flips)


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
