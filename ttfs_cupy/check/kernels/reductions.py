"""Checks of sums over many values, on a CPU and by a GPU's blocks: the gradient's norm and what becomes of a step,
softmax cross-entropy, the totals of a log, counts of spikes."""

import itertools
from collections.abc import Iterator

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.device import reductions
from ttfs_cupy.engine.validity import INPUTS_OUTSIDE, LABELS_OUTSIDE, SHARES_OUTSIDE

Settings = tuple[float, float, float]

# Of every kernel by blocks: below the shortest part, no multiple of 4, and several parts of which the last is short
SIZES = (1, 5, 4_099, 20_003)

# A window that some of KernelTrial.spikes open with, some of which come before it
T_WIN = 0.75


def _zero() -> np.ndarray:
    """How many blocks have come."""
    return np.zeros(1, np.int32)


def _blocks_of_parts(size: int) -> tuple[int, int, int]:
    """Parts, their size, and the whole size, as these kernels take them; a block for each part."""
    return reductions.blocks_of_parts(size), reductions.part_size(size), size


# The gradient's norm, and what becomes of the step


@check(tolerance=2e-6)
def sum_squares(trial: KernelTrial) -> None:
    # shares of uneven length, and fewer elements than shares
    for n, parts in ((300_007, 1024), (70_003, 7), (700, 1024)):
        grad = trial.normal(n)
        grad[n // 2] = np.nan
        (sums,) = trial.launch(n, grad, trial.blank(parts), parts, n)
        squares = grad.astype(np.float64) ** 2
        bounds = [n * part // parts for part in range(parts + 1)]
        expected = [squares[first:last].sum() for first, last in itertools.pairwise(bounds)]
        trial.compare(sums, np.array(expected))


@check(tolerance=2.0**-23)
def prepare_update(trial: KernelTrial) -> None:
    usual = trial.uniform(0, 2, 1024)
    overflowing, broken = usual.copy(), usual.copy()
    overflowing[1000], broken[1] = np.inf, np.nan
    for sums in (usual, np.zeros(1024, np.float32), overflowing, broken):
        for rate, counts, settings in _decisions():
            update, counted = trial.launch(1, sums, rate, trial.blank(5), counts, *settings, sums.size)
            _compare_decision(trial, update, counted, float(sums.astype(np.float64).sum()), rate, counts, settings)


@check(tolerance=2e-6)
def prepare_update_by_blocks(trial: KernelTrial) -> None:
    for n in SIZES:
        usual = trial.normal(n, scale=0.1)
        overflowing, infinite, broken = usual.copy(), usual.copy(), usual.copy()
        overflowing[n // 2], infinite[-1], broken[0] = 3e38, -np.inf, np.nan
        for grad in (usual, np.zeros(n, np.float32), overflowing, infinite, broken):
            cut = _blocks_of_parts(n)
            rate, counts, settings = next(_decisions(clip_norm=0.5))
            sums = trial.blank(cut[0])
            arguments = (grad, sums, _zero(), rate, trial.blank(5), counts, *settings, *cut)
            sums, arrived, update, counted = trial.launch_blocks(reductions.PREPARE_UPDATE, cut[0], *arguments)
            with np.errstate(over="ignore"):
                squares = (grad.astype(np.float64) ** 2).astype(np.float32).astype(np.float64)
            trial.compare(sums, np.add.reduceat(squares, range(0, n, cut[1])))
            trial.compare(arrived, _zero())
            _compare_decision(trial, update, counted, float(squares.sum()), rate, counts, settings)


def _decisions(clip_norm: float | None = None) -> Iterator[tuple[np.ndarray, np.ndarray, Settings]]:
    """Learning rates, counts of steps, and clip_norm with the moments' decays."""
    rate = np.full(1, 3e-4, np.float32)
    at_start, later = np.zeros(5, np.int64), np.array([100_000, 33, 7, 2, 9])
    in_longest_row = np.array([100_000, 33, 7, 9, 9])
    norms = (np.inf, 1e6, 0.5) if clip_norm is None else (clip_norm,)
    starts = (at_start, later, in_longest_row)
    for counts, norm, betas in itertools.product(starts, norms, ((0.9, 0.999), (0.0, 0.0))):
        yield rate, counts, (norm, *betas)


def _compare_decision(
    trial: KernelTrial,
    update: np.ndarray,
    counted: np.ndarray,
    squares: float,
    rate: np.ndarray,
    counts: np.ndarray,
    settings: Settings,
) -> None:
    clip_norm, *betas = settings
    norm = np.sqrt(squares)
    finite = bool(np.isfinite(norm))
    clipped = finite and norm > clip_norm
    row = 0 if finite else counts[3] + 1
    expected = [*(counts[:3] + np.array([finite, not finite, clipped])), row, max(row, counts[4])]
    trial.compare(counted, np.array(expected), 0.0)
    trial.compare(update[:1], np.array([finite]), 0.0)
    if finite:
        scale = clip_norm / norm if clipped else 1.0
        corrections = [1 / (1 - float(np.float32(beta)) ** float(counts[0] + 1)) for beta in betas]
        trial.compare(update[1:], np.array([scale, rate[0], *corrections]))


# The loss


# labels, others, shares, smoothing and the classes' weights, as the kernels take them
Targets = tuple[np.ndarray, np.ndarray | None, np.ndarray | None, float, np.ndarray | None]


@check(tolerance=1e-6)
def cross_entropy(trial: KernelTrial) -> None:
    # enough rows, the work here, for several shares; a batch such as an epoch's last one; and parts of larger batches
    for rows, images, classes in ((70_003, 70_003, 11), (5, 5, 100), (1, 1, 1), (7, 1_000_003, 11), (2, 3, 3)):
        potentials, labels = _potentials(trial, rows, classes)
        for targets in _targets(trial, labels, classes):
            outputs = (trial.blank(rows, classes), trial.blank(rows), trial.blank(rows, dtype=np.int32))
            results = trial.launch(rows, potentials, *targets, _unmarked(), *outputs, rows, images, classes)
            _compare_loss(trial, potentials, targets, images, *results)
    for targets, marks in _refused():
        outputs = (trial.blank(5, 3), trial.blank(5), trial.blank(5, dtype=np.int32))
        arguments = (trial.normal(5, 3), *targets, marks, *outputs, 5, 7, 3)
        _compare_refusal(trial, targets, marks, *trial.launch(5, *arguments))


@check(tolerance=1e-6)
def cross_entropy_by_blocks(trial: KernelTrial) -> None:
    # fewer classes than a warp has lanes, as many, more; rows for several blocks, fewer than a block's warps, parts
    for rows, images, classes in ((131, 131, 10), (77, 80, 32), (5, 5, 1000), (300, 1200, 33), (1, 1, 1)):
        potentials, labels = _potentials(trial, rows, classes)
        for targets in _targets(trial, labels, classes):
            outputs = (trial.blank(rows, classes), trial.blank(rows), trial.blank(rows, dtype=np.int32))
            before = _totals()
            untold = np.array([0, INPUTS_OUTSIDE], np.int32)  # of an earlier batch, which does not matter to this one
            arguments = (potentials, *targets, untold, *outputs, _zero(), before, rows, images, classes)
            blocks = reductions.blocks_of_warps(rows)
            marks, *results, arrived, totals = trial.launch_blocks(reductions.CROSS_ENTROPY, blocks, *arguments)
            trial.compare(marks, untold)
            _compare_loss(trial, potentials, targets, images, *results)
            _compare_totals(trial, totals, before, *results[1:])
            trial.compare(arrived, _zero())
    for targets, marks in _refused():
        outputs = (trial.blank(5, 3), trial.blank(5), trial.blank(5, dtype=np.int32))
        arguments = (trial.normal(5, 3), *targets, marks, *outputs, _zero(), _totals(), 5, 7, 3)
        found, *results, arrived, totals = trial.launch_blocks(reductions.CROSS_ENTROPY, 1, *arguments)
        _compare_refusal(trial, targets, marks, *results)
        troubles = _troubles(targets)
        told = (-1 in troubles) * LABELS_OUTSIDE | (-2 in troubles) * SHARES_OUTSIDE
        trial.compare(found, np.array([marks[0], marks[1] | told]))
        trial.compare(totals, _totals(), 0.0)
        trial.compare(arrived, _zero())


def _targets(trial: KernelTrial, labels: np.ndarray, classes: int) -> Iterator[Targets]:
    """These labels; the same smoothed; each mixed with another one, in equal shares, in none, and with itself; and all
    weighted by class."""
    others = trial.random.integers(0, classes, len(labels)).astype(np.int32)
    shares = trial.uniform(0, 1, len(labels))
    shares[: min(3, len(shares))] = (0.5, 0.0, 1.0)[: len(shares)]
    others[-1] = labels[-1]
    weights = trial.uniform(0.01, 100, classes)
    for each in (None, weights):
        yield labels, None, None, 0.0, each
        yield labels, None, None, 0.1, each
        yield labels, others, shares, 0.0, each
        yield labels, others, shares, 0.25, each


def _refused() -> Iterator[tuple[Targets, np.ndarray]]:
    """Five targets, of which some are none of three classes, or whose batch is marked already; and the marks."""
    weights = np.array([1, 2, 3], np.float32)
    for first in ([0, 3, 1, -1, 2], [2**31 - 1, 0, 0, 0, -(2**31)]):
        labels, shares = np.array(first, np.int32), np.full(5, 0.5, np.float32)
        # no weight is looked up for a class that is none
        for each in (None, weights):
            yield (labels, None, None, 0.0, each), _unmarked()
            yield (np.zeros(5, np.int32), labels, shares, 0.1, each), _unmarked()
    labels, shares = np.array([0, 1, 2, 0, 1], np.int32), np.array([np.nan, 1, 1.5, -0.5, np.inf], np.float32)
    yield (labels, labels[::-1].copy(), shares, 0.0, weights), _unmarked()
    yield (labels, None, None, 0.0, None), np.full(2, INPUTS_OUTSIDE, np.int32)


def _unmarked() -> np.ndarray:
    return np.zeros(2, np.int32)


def _troubles(targets: Targets) -> np.ndarray:
    """Of three classes: -1 where a label is none, else -2 where a share is none, else 0."""
    labels, others, shares, *_ = targets
    is_class = np.logical_and.reduce([(each >= 0) & (each < 3) for each in (labels, others) if each is not None])
    is_share = np.ones(len(labels), bool) if shares is None else (shares >= 0) & (shares <= 1)
    return np.where(is_class, np.where(is_share, 0, -2), -1)


def _compare_refusal(
    trial: KernelTrial,
    targets: Targets,
    marks: np.ndarray,
    grad: np.ndarray,
    row_loss: np.ndarray,
    row_correct: np.ndarray,
) -> None:
    """Rows without a loss have NaN for gradients: all of a marked batch, and those whose targets are none."""
    troubles = _troubles(targets)
    without = (troubles != 0) | (marks[0] != 0)
    trial.compare(np.isnan(grad).all(axis=1), without, 0.0)
    trial.compare(np.isnan(row_loss), without, 0.0)
    trial.compare(row_correct[without], troubles[without], 0.0)


def _potentials(trial: KernelTrial, rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    potentials = trial.normal(rows, classes, scale=10)
    labels = trial.random.integers(0, classes, rows).astype(np.int32)
    if rows > 4:
        potentials[0] = 3.0  # all tied: the first class is the prediction
        potentials[1, [2, 4]] = 50.0  # two tied above all others
        potentials[2] *= 30.0  # a softmax that is 0 or 1
        potentials[3, 0] = np.nan
        labels[:4] = 0, 4, 1, 2
    return potentials, labels


def _compare_loss(
    trial: KernelTrial,
    potentials: np.ndarray,
    targets: Targets,
    images: int,
    grad: np.ndarray,
    row_loss: np.ndarray,
    row_correct: np.ndarray,
) -> None:
    labels, others, shares, smoothing, weights = targets
    rows, classes = potentials.shape
    m, every = potentials.astype(np.float64), np.arange(rows)
    share = np.ones(rows) if shares is None else shares.astype(np.float64)
    wanted = np.zeros((rows, classes))
    wanted[every, labels] += share
    second = labels if others is None else others
    wanted[every, second] += 1 - share
    wanted = (1 - smoothing) * wanted + smoothing / classes
    exponents = m - m.max(axis=1, keepdims=True)
    sums = np.exp(exponents).sum(axis=1, keepdims=True)
    of_class = np.ones(classes) if weights is None else weights.astype(np.float64)
    weight = share * of_class[labels] + (1 - share) * of_class[second]
    expected = weight[:, None] * (np.exp(exponents) / sums - wanted)
    trial.compare(grad, expected / images, np.where(np.isnan(expected), 0, weight[:, None] / images))
    distances = np.where(wanted == 0, 0, wanted * exponents).sum(axis=1)
    expected_loss = weight * (np.log(sums[:, 0]) - distances)
    trial.compare(row_loss, expected_loss, weight + np.abs(expected_loss))
    finite = np.isfinite(m).all(axis=1)
    mostly = np.where(share >= 0.5, labels, second)
    trial.compare(row_correct[finite], (m.argmax(axis=1) == mostly)[finite], 0.0)


@check(tolerance=1e-12)
def add_to_totals(trial: KernelTrial) -> None:
    rows = 70_003
    row_loss = np.abs(trial.normal(rows, scale=3))
    row_correct = trial.random.integers(0, 2, rows).astype(np.int32)
    before = _totals()
    for totals_before, marks in (
        (before, _unmarked()),
        (np.zeros(reductions.TOTALS), np.array([0, INPUTS_OUTSIDE], np.int32)),
    ):
        for wrong in (None, np.nan, np.inf):
            losses = row_loss.copy()
            if wrong is not None:
                losses[rows // 2] = wrong
            found, totals = trial.launch(1, losses, row_correct, marks, totals_before, rows)
            _compare_totals(trial, totals, totals_before, losses, row_correct)
            trial.compare(found, marks)
    marked = np.full(2, INPUTS_OUTSIDE, np.int32)
    for less, marks in ((0, marked), (1, marked), (1, _unmarked()), (2, _unmarked()), (3, _unmarked())):
        correct = row_correct - less
        found, totals = trial.launch(1, row_loss, correct, marks, before, rows)
        told = (-1 in correct) * LABELS_OUTSIDE | (-2 in correct) * SHARES_OUTSIDE
        trial.compare(found, np.array([marks[0], marks[1] | told]))
        trial.compare(totals, before, 0.0)


def _totals() -> np.ndarray:
    """Of batches before, some of which were not finite."""
    return np.array([1e3, 12345.0, 67890.0, 40.0, 256.0, 2.0])


def _compare_totals(
    trial: KernelTrial, totals: np.ndarray, before: np.ndarray, row_loss: np.ndarray, row_correct: np.ndarray
) -> None:
    """A batch adds to the first three if its loss is finite, else to the last three."""
    loss = row_loss.sum(dtype=np.float64)
    correct, rows = row_correct.sum(), len(row_loss)
    expected = before + ([loss, correct, rows, 0, 0, 0] if np.isfinite(loss) else [0, 0, 0, correct, rows, 1])
    trial.compare(totals, expected)
    trial.compare(totals[1:], expected[1:], 0.0)


# Right predictions by class


@check(tolerance=0.0)
def count_classes(trial: KernelTrial) -> None:
    # several classes a thread and few rows, as on a CPU; more classes than a small grid has threads; one
    for rows, classes in ((131, 10), (7, 1_003), (3, 1)):
        labels, others = (trial.random.integers(0, classes, rows).astype(np.int32) for _ in range(2))
        shares = trial.uniform(0, 1, rows)
        shares[0] = 0.5
        right = trial.random.integers(0, 2, rows).astype(np.int32)
        images, correct = (trial.random.integers(0, 2**40, classes) for _ in range(2))
        spoilt = right.copy()
        spoilt[rows // 2] = -2
        untold, marked = np.array([0, LABELS_OUTSIDE], np.int32), np.full(2, INPUTS_OUTSIDE, np.int32)
        for mixed in ((None, None), (others, shares)):
            mostly = labels if mixed[0] is None else np.where(shares >= 0.5, labels, others)
            for of_rows, marks, counts in ((right, untold, 1), (spoilt, untold, 0), (right, marked, 0)):
                arguments = (labels, *mixed, of_rows, marks, images, correct, rows, classes)
                found, found_right = trial.launch(classes, *arguments)
                trial.compare(found - images, counts * np.bincount(mostly, minlength=classes))
                trial.compare(found_right - correct, counts * np.bincount(mostly[right == 1], minlength=classes))


# Spikes


@check(tolerance=0.0)
def count_spikes(trial: KernelTrial) -> None:
    for n, parts in ((70_003, 64), (70_003, 1), (5, 8)):
        earliness, before = _earliness(trial, n), trial.random.integers(0, 2**40, (parts, 2))
        (counts,) = trial.launch(n, earliness, before, T_WIN, parts, n)
        bounds = [n * part // parts for part in range(parts + 1)]
        trial.compare(counts - before, _spikes_between(earliness, bounds))


@check(tolerance=0.0)
def count_spikes_by_blocks(trial: KernelTrial) -> None:
    for n in SIZES:
        cut = _blocks_of_parts(n)
        earliness, before = _earliness(trial, n), trial.random.integers(0, 2**40, (cut[0], 2))
        (counts,) = trial.launch_blocks(reductions.COUNT_SPIKES, cut[0], earliness, before, T_WIN, *cut)
        trial.compare(counts - before, _spikes_between(earliness, [*range(0, n, cut[1]), n]))


@check(tolerance=0.0)
def count_spike_times(trial: KernelTrial) -> None:
    bins = reductions.SPIKE_TIME_BINS
    # a contiguous part each, neighbours in turn, something in between, and fewer values than parts
    for n, parts, turn in ((70_003, 64, 1094), (70_003, 1024, 1), (70_003, 7, 100), (5, 8, 1)):
        for window in (1.0, 0.3, 20.0):
            earliness = (trial.spikes(n) % np.float32(window)).astype(np.float32)
            # the ends of the window, and what lies outside it
            earliness[:5] = window, np.nextafter(np.float32(0), np.float32(1)), window * 1.5, -window, 0
            before = trial.random.integers(0, 2**40, (parts, bins))
            arguments = (earliness, before, window, bins / window, turn, parts, n)
            (counts,) = trial.launch(n, *arguments)
            times = (np.float32(window) - earliness) * np.float32(bins / window)
            places = np.clip(times, 0, bins - 1).astype(np.int64)
            owners = np.arange(n) // turn % parts
            fired = earliness != 0
            expected = np.bincount(owners[fired] * bins + places[fired], minlength=parts * bins)
            trial.compare(counts - before, expected.reshape(parts, bins))


def _earliness(trial: KernelTrial, n: int) -> np.ndarray:
    earliness = trial.spikes(n)
    earliness[: n // 3] *= -1  # standardised input leaves the window, and counts as spikes all the same
    earliness[n // 2] = np.nextafter(np.float32(T_WIN), np.float32(0))  # almost as the window opens
    earliness[-1] = np.nan
    return earliness


def _spikes_between(earliness: np.ndarray, bounds: list[int]) -> np.ndarray:
    """For each stretch, how many spikes there are, and how many at the window's opening or before: (stretches, 2)."""
    stretches = [earliness[first:last] for first, last in itertools.pairwise(bounds)]
    return np.array([[np.count_nonzero(each), np.count_nonzero(each >= np.float32(T_WIN))] for each in stretches])


@check(tolerance=0.0)
def find_spikes(trial: KernelTrial) -> None:
    for pixels, channels in ((70_003, 1), (9_001, 37)):
        images = trial.spikes(pixels, channels, silent=0.95)
        (spiked,) = trial.launch(images.size, images, trial.blank(pixels), pixels, channels)
        trial.compare(spiked, (images != 0).any(axis=1))


@check(tolerance=0.0)
def find_spikes_by_warps(trial: KernelTrial) -> None:
    for pixels, channels in ((1_003, 1), (301, 37), (40, 128)):
        images = trial.spikes(pixels, channels, silent=0.97)
        arguments = (images, trial.blank(pixels), pixels, channels)
        (spiked,) = trial.launch_blocks(reductions.FIND_SPIKES, reductions.blocks_of_warps(pixels), *arguments)
        trial.compare(spiked, (images != 0).any(axis=1))
