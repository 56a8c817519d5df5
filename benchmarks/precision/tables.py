"""The study of precision as text."""

from collections.abc import Iterator, Sequence

from ttfs_cupy.benchmarks.precision.evaluation import Evaluated, Numbers, Outcome, Sums, Trained

WIDTH = 18


def line(trained: Trained) -> str:
    """One run, as it ends."""
    own, exact = trained.own, trained.float32
    return (
        f"{trained.variant:{WIDTH}} seed {trained.seed}: {own.accuracy:.2%}, in float32 {exact.accuracy:.2%}, "
        f"{own.changed} predictions changed, flips {' '.join(_flips(own))}; {trained.seconds:.0f} s of training"
    )


def report(
    trained: Sequence[Trained], evaluated: Sequence[Evaluated], sums: Sequence[Sums], numbers: Sequence[Numbers]
) -> Iterator[str]:
    """All tables, in Markdown."""
    layers = list(trained[0].own.flips)
    flips = [f"flips, {name}" for name in layers]
    yield from _head("forward/backward", "seed", "accuracy", "in float32", "changed", *flips)
    for run in sorted(trained, key=lambda run: [other.variant for other in trained].index(run.variant)):
        own, exact = run.own, run.float32
        yield _row(run.variant, run.seed, f"{own.accuracy:.2%}", f"{exact.accuracy:.2%}", own.changed, *_flips(own))
    if evaluated:
        yield from _head("evaluated with", "seed", "accuracy", "changed", *flips)
    for each in sorted(evaluated, key=lambda each: [other.forward for other in evaluated].index(each.forward)):
        outcome = each.outcome
        yield _row(each.forward, each.seed, f"{outcome.accuracy:.2%}", outcome.changed, *_flips(outcome))
    if sums:
        yield from _head(
            f"sums of {sums[0].layer}", "error of A", "error of S", f"flips of {sums[0].neurons:,} neurons"
        )
    for row in sums:
        yield _row(row.operands, f"{row.drive:.1e}", f"{row.weight_sum:.1e}", row.flips)
    yield from _head("a number as", "largest relative error", "exact")
    for number in numbers:
        yield _row(number.operands, f"{number.error:.1e}", f"{number.exact:.1%}")


def _flips(outcome: Outcome) -> list[str]:
    return [f"{outcome.flipped(name):.1e}" for name in outcome.flips]


def _head(*cells: object) -> Iterator[str]:
    yield from ("", _row(*cells), _row(*["---"] * len(cells)))


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
