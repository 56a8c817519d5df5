"""Checks of winograd.cu: the transforms as float64 matrices, themselves checked to make a convolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.neuron import Rounded, compare_spikes, outgoing
from ttfs_cupy.check.kernels.references.winograd import INPUT, OUTPUT, WEIGHTS, require_convolution, transformed
from ttfs_cupy.check.kernels.registry import check

BATCH = 5
TOLERANCE = 2e-6

# Floats between two matrices of a stack, and what they hold
GAP, BETWEEN = 3, 7.0


@dataclass(frozen=True)
class _Case:
    """Images, the padding of their convolution, and a grid of tiles over its outputs: (height, width) each."""

    image: tuple[int, int]
    channels: int
    padding: tuple[int, int]
    count: tuple[int, int]
    size: tuple[int, int]
    first: tuple[int, int]

    @property
    def outputs(self) -> tuple[int, int]:
        return self.image[0] + 2 * self.padding[0] - 2, self.image[1] + 2 * self.padding[1] - 2

    @property
    def tiles(self) -> int:
        return BATCH * self.count[0] * self.count[1]

    @property
    def positions(self) -> int:
        return (self.size[0] + 2) * (self.size[1] + 2)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """(first, count): all tiles, and a piece that starts and ends inside an image."""
        return iter(((0, self.tiles), (self.tiles // 3 + 1, self.tiles // 2)))

    def grid(self, padding: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
        return (*self.count, *self.size, self.first[0] - padding[0], self.first[1] - padding[1])

    def places(self) -> Iterator[tuple[int, int, int]]:
        """(image, top, left) of each tile."""
        for image, y, x in product(range(BATCH), range(self.count[0]), range(self.count[1])):
            yield image, self.first[0] + y * self.size[0], self.first[1] + x * self.size[1]


# Whole tiles: the usual padding, a rectangular one, tiles that overhang by three; then smaller tiles at the sides' ends
CASES = (
    _Case((11, 13), 37, (1, 1), (3, 4), (4, 4), (0, 0)),
    _Case((9, 17), 37, (0, 2), (2, 5), (4, 4), (0, 0)),
    _Case((7, 5), 3, (2, 1), (3, 2), (4, 4), (0, 0)),
    _Case((11, 13), 37, (1, 1), (1, 3), (3, 4), (8, 0)),
    _Case((10, 11), 37, (1, 1), (2, 1), (4, 3), (0, 8)),
    _Case((10, 11), 19, (1, 1), (1, 1), (2, 3), (8, 8)),
    _Case((11, 10), 37, (0, 2), (1, 3), (3, 2), (6, 4)),
    _Case((6, 6), 37, (1, 1), (1, 1), (2, 2), (4, 4)),
)


def _cut(images: np.ndarray, case: _Case, padding: tuple[int, int], border: int) -> np.ndarray:
    """(tiles, size + border, size + border, channels), float64: what each tile reads; 0 outside the image."""
    margin = 8
    padded = np.pad(images.astype(np.float64), ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    height, width = case.size[0] + border, case.size[1] + border
    cut = []
    for image, top, left in case.places():
        y, x = top - padding[0] + margin, left - padding[1] + margin
        cut.append(padded[image, y : y + height, x : x + width])
    return np.array(cut)


def _placed(tiles: np.ndarray, first: int, case: _Case, size: tuple[int, int]) -> np.ndarray:
    """tiles (count, height, width, channels), from the first on, in images that are NaN elsewhere."""
    images = np.full((BATCH, size[0] + 8, size[1] + 8, tiles.shape[3]), np.nan)
    for tile, (image, top, left) in zip(tiles, list(case.places())[first:], strict=False):
        images[image, top : top + case.size[0], left : left + case.size[1]] = tile
    return images[:, : size[0], : size[1]]


def _with_gap(values: np.ndarray, between: float) -> np.ndarray:
    """A stack (positions, ...) as rows with GAP values behind each."""
    flat = values.reshape(len(values), -1)
    return np.concatenate([flat, np.full((len(flat), GAP), between, flat.dtype)], axis=1)


def _launch_stack(
    trial: KernelTrial, work: int, before: tuple, expected: np.ndarray, sizes: np.ndarray, after: tuple
) -> None:
    """Launches a kernel that takes (*before, stack, step, *after), and compares what it leaves in the stack."""
    blank = _with_gap(trial.blank(len(expected), expected[0].size), BETWEEN)
    (result,) = trial.launch(work, *before, blank, blank.shape[1], *after)
    # what lies between two matrices has to stay as it was
    trial.compare(result, _with_gap(expected, BETWEEN), _with_gap(sizes, 0.0))


def _in_panels(stack: np.ndarray, panel: int) -> np.ndarray:
    """(positions, rows, columns) to (positions, panels, rows, panel), 0 beyond the last column."""
    count, rows, columns = stack.shape
    panels = -(-columns // panel)
    padded = np.pad(stack, ((0, 0), (0, 0), (0, panels * panel - columns)))
    return padded.reshape(count, rows, panels, panel).swapaxes(1, 2)


@check(tolerance=TOLERANCE)
def winograd_input(trial: KernelTrial) -> None:
    for case in CASES:
        images = trial.spikes(BATCH, *case.image, case.channels)
        windows = _cut(images, case, case.padding, 2)
        for (first, count), has_mask in product(case.chunks(), (0, 1)):
            part = windows[first : first + count]
            expected, sizes = transformed(INPUT, np.concatenate([part, part != 0]) if has_mask else part)
            after = (first, count, has_mask, *case.image, case.channels, *case.grid(case.padding))
            _launch_stack(trial, count * case.channels, (images,), expected, sizes, after)


@check(tolerance=TOLERANCE)
def winograd_weights(trial: KernelTrial) -> None:
    require_convolution(trial)
    for (depth, columns, panel), turned in product(((37, 45, 32), (3, 5, 5), (33, 64, 64)), (0, 1)):
        weights = trial.normal(3, 3, *((columns, depth) if turned else (depth, columns)))
        seen = weights[::-1, ::-1].swapaxes(2, 3) if turned else weights
        flat, flat_sizes = transformed(dict.fromkeys((1, 3), WEIGHTS), seen.reshape(1, 3, 3, -1).astype(np.float64))
        expected, sizes = (_in_panels(array.reshape(36, depth, columns), panel) for array in (flat, flat_sizes))
        _launch_stack(trial, expected[0].size, (weights,), expected, sizes, (turned, depth, columns, panel))


def _outputs(products: np.ndarray, case: _Case, rows: int) -> Rounded:
    """What products (positions, rows * channels + GAP) make: (rows, tile height, tile width, channels)."""
    height, width = case.size
    stack = products[:, :-GAP].reshape(height + 2, width + 2, rows, case.channels)
    values, sizes = transformed(OUTPUT, stack.transpose(2, 0, 1, 3).astype(np.float64))
    shape = (height, width, rows, case.channels)
    return Rounded(*(array.reshape(shape).transpose(2, 0, 1, 3) for array in (values, sizes)))


@check(tolerance=TOLERANCE)
def winograd_output(trial: KernelTrial) -> None:
    for case in CASES:
        for first, count in case.chunks():
            products = trial.normal(case.positions, count * case.channels + GAP)
            expected, sizes = (_placed(tiles, first, case, case.outputs) for tiles in _outputs(products, case, count))
            blank = trial.blank(BATCH, *case.outputs, case.channels)
            after = (blank, first, count, *case.outputs, case.channels, *case.grid())
            (images,) = trial.launch(count * case.channels, products, products.shape[1], *after)
            trial.compare(images, expected, np.nan_to_num(sizes))


@check(tolerance=TOLERANCE)
def winograd_fire(trial: KernelTrial) -> None:
    for case, slope in product(CASES, (1.0, 0.3, 0.0)):
        spiked = (trial.random.random((BATCH, *case.image, 1)) < 0.2).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(_cut(spiked, case, case.padding, 2), (3, 3), axis=(1, 2))
        reached = np.asarray(windows.any(axis=(4, 5)))
        for first, count in case.chunks():
            has_mask = int(slope > 0)
            products = trial.normal(case.positions, (1 + has_mask) * count * case.channels + GAP, scale=0.1)
            made = _outputs(products, case, (1 + has_mask) * count)
            part = reached[first : first + count]
            drive, weight_sum = (
                Rounded(*(_placed(half[rows] * part * kept, first, case, case.outputs) for half in made))
                for rows, kept in ((slice(count), 1), (slice(-count, None), has_mask))
            )
            # with initial potentials, too, which no spike needs to reach
            initial = None if slope == 1 else trial.normal(case.channels, scale=0.3)
            if initial is not None:
                drive = Rounded(drive.value + initial, drive.size + np.abs(initial))
            rule = (products, products.shape[1], spiked, np.full(1, slope, np.float32), 1.0, 1.0, initial, has_mask)
            cut = (first, count, *case.image, *case.padding, *case.outputs, case.channels, *case.grid())
            blanks = [trial.blank(BATCH, *case.outputs, case.channels) for _ in range(2)]
            earliness, kept = trial.launch(count * case.channels, *rule, *blanks, None, *cut)
            written = ~np.isnan(drive.value)
            trial.require((np.isnan(earliness) == ~written).all(), "it writes other neurons than those of its tiles")
            of_drive, of_sum = (Rounded(*(array[written] for array in half)) for half in (drive, weight_sum))
            compare_spikes(trial, earliness[written], of_drive, of_sum, slope, 1.0)
            trial.compare(kept, weight_sum.value, np.nan_to_num(weight_sum.size))
            _compare_pooled(trial, earliness, kept, (rule, cut), count * case.channels)


def _compare_pooled(trial: KernelTrial, earliness: np.ndarray, kept: np.ndarray, arguments: tuple, work: int) -> None:
    """Pooling as tiles leave, against pooling of what leaves without it: the same numbers."""
    (rule, cut), (_, height, width, channels) = arguments, earliness.shape
    shape = (BATCH, height // 2, width // 2, channels)
    x, s = (
        array[:, : 2 * shape[1], : 2 * shape[2]]
        .reshape(BATCH, shape[1], 2, shape[2], 2, channels)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(BATCH, shape[1], shape[2], 4, channels)
        for array in (earliness, kept)
    )
    first = np.argmax(x, axis=3)  # the first of equals
    unwritten = trial.blank(dtype=np.uint8)
    winner = np.where(np.isnan(x[:, :, :, 0]), unwritten, np.where(x.max(axis=3) > 0, first, 255))
    expected = [np.take_along_axis(array, first[:, :, :, None], axis=3)[:, :, :, 0] for array in (x, s)]
    blanks = [trial.blank(*shape), trial.blank(*shape), trial.blank(*shape, dtype=np.uint8)]
    pooled, sums, won = trial.launch(work, *rule, *blanks, *cut)
    trial.compare(pooled, expected[0], 0.0)
    trial.compare(sums, expected[1], 0.0)
    trial.compare(won, winner, 0.0)


class _Gradients(NamedTuple):
    """grad, earliness, weight_sum and winner as kernels take them; float64's dLoss/dA and dLoss/dS at full size."""

    arrays: tuple
    rule: tuple
    to_drive: Rounded
    to_sum: Rounded


def _gradients(
    trial: KernelTrial, size: tuple[int, int], channels: int, pooled: bool, has_weight_sum: int
) -> _Gradients:
    shape = (BATCH, size[0] // 2, size[1] // 2, channels) if pooled else (BATCH, *size, channels)
    grad, earliness, weight_sum = trial.normal(*shape), trial.spikes(*shape), trial.uniform(-0.5, 4, *shape)
    rule = (np.full(1, has_weight_sum, np.float32), 1.0, 1.0, 5.0, has_weight_sum)
    given = outgoing(grad, earliness, weight_sum, *rule)
    winner = trial.random.integers(0, 4, shape).astype(np.uint8) if pooled else None
    spread = [_spread(array, winner, size) for array in given]
    arrays = (grad, earliness, weight_sum if has_weight_sum else None, winner)
    return _Gradients(arrays, rule, Rounded(spread[0], spread[2]), Rounded(spread[1], spread[3]))


def _spread(pooled: np.ndarray, winner: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """Each value to its winner's place, 0 elsewhere."""
    if winner is None:
        return pooled
    full = np.zeros((BATCH, *size, pooled.shape[3]))
    for place in range(4):
        rows, columns = slice(place // 2, size[0] // 2 * 2, 2), slice(place % 2, size[1] // 2 * 2, 2)
        full[:, rows, columns] = np.where(winner == place, pooled, 0)
    return full


@check(tolerance=TOLERANCE)
def winograd_drive_gradient(trial: KernelTrial) -> None:
    for case, pooled, has_weight_sum in product(CASES, (False, True), (0, 1)):
        gradients = _gradients(trial, case.image, case.channels, pooled, has_weight_sum)
        values, bounds = (_cut(array, case, case.padding, 2) for array in gradients.to_drive)
        for first, count in case.chunks():
            expected, _ = transformed(INPUT, values[first : first + count])
            _, sizes = transformed(INPUT, bounds[first : first + count])
            after = (first, count, *case.image, case.channels, *case.grid(case.padding))
            before = (*gradients.arrays, *gradients.rule)
            _launch_stack(trial, count * case.channels, before, expected, sizes, after)


@check(tolerance=TOLERANCE)
def winograd_gradient(trial: KernelTrial) -> None:
    turned = {size: matrix.T for size, matrix in OUTPUT.items()}
    of_tile = {size: turned[size + 2] for size in (2, 3, 4)}
    for case, pooled, has_weight_sum in product(CASES, (False, True), (0, 1)):
        gradients = _gradients(trial, case.outputs, case.channels, pooled, has_weight_sum)
        halves = 1 + has_weight_sum
        both = (gradients.to_drive, gradients.to_sum)[:halves]
        values, bounds = ([_cut(half[place], case, (0, 0), 0) for half in both] for place in range(2))
        for (first, count), panel in product(case.chunks(), (32, case.channels)):
            part = slice(first, first + count)
            expected, _ = transformed(of_tile, np.concatenate([half[part] for half in values]))
            _, sizes = transformed(of_tile, np.concatenate([half[part] for half in bounds]))
            expected, sizes = (_in_panels(array, panel) for array in (expected, sizes))
            after = (first, count, has_weight_sum, *case.outputs, case.channels, panel, *case.grid())
            before = (*gradients.arrays, *gradients.rule)
            _launch_stack(trial, expected[0].size // halves, before, expected, sizes, after)


@check(tolerance=TOLERANCE)
def winograd_weight_gradient(trial: KernelTrial) -> None:
    # a rounding so large that many a gradient is smaller
    for (rows, columns, groups), rounding in product(((501, 70, 1), (33, 47, 3), (1, 5, 2)), (0.0, 0.05)):
        sums = trial.normal(groups * 36, rows * columns + GAP)
        tiles = sums[:, :-GAP].reshape(groups, 6, 6, -1).astype(np.float64).sum(0)
        expected, sizes = (array[:, 0] for array in transformed({6: WEIGHTS.T}, tiles[None]))
        _, rounded = transformed({6: WEIGHTS.T}, np.abs(sums[:, :-GAP]).reshape(groups, 6, 6, -1).sum(0)[None])
        kept, doubtful = (np.abs(expected) - rounding * sizes > share * rounding * sizes for share in (0.0, -1e-4))
        result = _weight_gradient(trial, sums, groups, rounding, rows, columns)
        at_the_edge = kept != doubtful
        trial.compare(result, np.where(at_the_edge, result, kept * expected), rounded[:, 0])
        # what enters every gradient of its column
        sums[2 * 6 + 3, ::7] = np.resize((np.nan, np.inf, -np.inf), len(sums[0, ::7]))
        result = _weight_gradient(trial, sums, groups, rounding, rows, columns)
        trial.require(not np.isfinite(result[:, ::7]).any(), "a sum that is not finite is lost")


def _weight_gradient(
    trial: KernelTrial, sums: np.ndarray, groups: int, rounding: float, rows: int, columns: int
) -> np.ndarray:
    blank = trial.blank(9, rows * columns)
    (result,) = trial.launch(rows * columns, sums, blank, sums.shape[1], groups, rounding, rows, columns)
    return result
