"""Checks of loss.cu: softmax cross-entropy, the totals of a log, and counts of spikes."""

import itertools

import numpy as np

from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.registry import check


@check(tolerance=1e-6)
def cross_entropy(bench: Bench) -> None:
    # rows are the work here: enough of them for several shares; and a batch such as the last one of an epoch
    for rows, classes in ((70_003, 11), (5, 100), (1, 1)):
        potentials = bench.normal(rows, classes, scale=10)
        labels = bench.random.integers(0, classes, rows).astype(np.int32)
        if rows > 4:
            potentials[0] = 3.0  # all tied: the first class is the prediction
            potentials[1, [2, 4]] = 50.0  # two tied above all others
            potentials[2] *= 30.0  # a softmax that is 0 or 1
            potentials[3, 0] = np.nan
            labels[:4] = 0, 4, 1, 2
        outputs = (bench.blank(rows, classes), bench.blank(rows), bench.blank(rows, dtype=np.int32))
        grad, row_loss, row_correct = bench.launch(rows, potentials, labels, *outputs, rows, classes)

        m, every = potentials.astype(np.float64), np.arange(rows)
        exponents = m - m.max(axis=1, keepdims=True)
        sums = np.exp(exponents).sum(axis=1, keepdims=True)
        expected = np.exp(exponents) / sums
        expected[every, labels] -= 1
        bench.compare(grad, expected / rows, np.where(np.isnan(expected), 0, 1 / rows))
        expected_loss = np.log(sums[:, 0]) - exponents[every, labels]
        bench.compare(row_loss, expected_loss, 1 + np.abs(expected_loss))
        finite = np.isfinite(m).all(axis=1)
        bench.compare(row_correct[finite], (m.argmax(axis=1) == labels)[finite], 0.0)


@check(tolerance=1e-12)
def add_to_totals(bench: Bench) -> None:
    rows = 70_003
    row_loss = np.abs(bench.normal(rows, scale=3))
    row_correct = bench.random.integers(0, 2, rows).astype(np.int32)
    before = np.array([1e3, 12345.0, 67890.0])
    added = np.array([row_loss.sum(dtype=np.float64), row_correct.sum(), rows])
    for totals_before in (before, np.zeros(3)):
        (totals,) = bench.launch(1, row_loss, row_correct, totals_before, rows)
        bench.compare(totals, totals_before + added)
        bench.compare(totals[1:], (totals_before + added)[1:], 0.0)


@check(tolerance=0.0)
def count_spikes(bench: Bench) -> None:
    for n, parts in ((70_003, 64), (70_003, 1), (5, 8)):
        earliness = bench.spikes(n)
        earliness[: n // 3] *= -1  # standardised input leaves the window, and counts as spikes all the same
        before = bench.random.integers(0, 2**40, parts)
        (counts,) = bench.launch(n, earliness, before, parts, n)
        bounds = [n * part // parts for part in range(parts + 1)]
        spikes = [np.count_nonzero(earliness[first:last]) for first, last in itertools.pairwise(bounds)]
        bench.compare(counts - before, np.array(spikes))
