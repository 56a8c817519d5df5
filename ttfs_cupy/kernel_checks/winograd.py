"""Checks of winograd.cu: the transforms as float64 matrices, themselves checked to make a convolution."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from ttfs_cupy.kernel_checks.bench import Bench
from ttfs_cupy.kernel_checks.neuron_reference import Rounded, compare_spikes, outgoing
from ttfs_cupy.kernel_checks.registry import check

BATCH = 5
TILE = 4

# interpolation points; the sixth is infinity
_A, _B = np.sqrt(0.5), np.sqrt(2.0)
_POINTS = np.array([0, _A, -_A, _B, -_B])

# each output is a row of powers of the points; infinity sees the highest power only
OUTPUT = np.vstack([_POINTS**k for k in range(TILE)])
OUTPUT = np.hstack([OUTPUT, [[0], [0], [0], [1]]])
WEIGHTS = np.vstack([np.vander(_POINTS, 3, increasing=True) / np.array([[1, -1.5, -1.5, 6, 6]]).T, [0, 0, 1]])
INPUT = np.array(
    [
        [1, 0, -5 / 2, 0, 1, 0],
        [0, -2 * _A, -2, _A, 1, 0],
        [0, 2 * _A, -2, -_A, 1, 0],
        [0, -_B / 2, -1 / 2, _B, 1, 0],
        [0, _B / 2, -1 / 2, -_B, 1, 0],
        [0, 1, 0, -5 / 2, 0, 1],
    ]
)

# (height, width, channels), padding: the usual one; a rectangular padding; tiles that overhang by three
SHAPES = (((11, 13, 37), (1, 1)), ((9, 17, 37), (0, 2)), ((7, 5, 3), (2, 1)))

TOLERANCE = 2e-6

# Floats between two matrices of a stack, and what they hold
GAP, BETWEEN = 3, 7.0


def _transformed(matrix: np.ndarray, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """matrix X matrix^T of tiles (rows, h, w, channels), as (positions, rows, channels); and its rounding's scale."""
    values, sizes = (
        np.einsum("ay,bx,ryxc->abrc", m, m, t, optimize=True)
        for m, t in ((matrix, tiles), (np.abs(matrix), np.abs(tiles)))
    )
    flat = (-1, *values.shape[2:])
    return values.reshape(flat), sizes.reshape(flat)


def _tiles(images: np.ndarray, size: int) -> np.ndarray:
    """(tiles, size, size, channels): a tile begins at every fourth pixel; images must be whole numbers of steps."""
    views = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))[:, ::TILE, ::TILE]
    return views.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size, size, images.shape[3]).astype(np.float64)


def _padded(images: np.ndarray, before: tuple[int, int], tiles: tuple[int, int], size: int) -> np.ndarray:
    """Zeros around the images, so that that many tiles fit."""
    _, height, width, _ = images.shape
    after = (
        TILE * (count - 1) + size - extent - start
        for count, extent, start in zip(tiles, (height, width), before, strict=True)
    )
    bottom, right = (max(0, rest) for rest in after)
    return np.pad(images, ((0, 0), (before[0], bottom), (before[1], right), (0, 0)))


def _chunks(tiles: int) -> Iterator[tuple[int, int]]:
    """(first, count): all of them, and a piece that starts and ends inside an image."""
    return iter(((0, tiles), (tiles // 3 + 1, tiles // 2)))


def _with_gap(values: np.ndarray, between: float) -> np.ndarray:
    """A stack (36, ...) as rows with GAP values behind each."""
    flat = values.reshape(36, -1)
    return np.concatenate([flat, np.full((36, GAP), between, flat.dtype)], axis=1)


def _blank_stack(bench: Bench, values: int) -> np.ndarray:
    return _with_gap(bench.blank(36, values), BETWEEN)


def _compare_stack(bench: Bench, result: np.ndarray, expected: np.ndarray, sizes: np.ndarray) -> None:
    """What lies between two matrices has to stay as it was."""
    bench.compare(result, _with_gap(expected, BETWEEN), _with_gap(sizes, 0.0))


def _grid(height: int, width: int, padding: tuple[int, int]) -> tuple[int, int]:
    """Tiles of a convolution's output, which is smaller than its input by 2 less twice the padding."""
    tiles_h, tiles_w = (-(-(size + 2 * p - 2) // TILE) for size, p in zip((height, width), padding, strict=True))
    return tiles_h, tiles_w


def _input_tiles(images: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    """(tiles, 6, 6, channels): what each tile of 4x4 outputs sees."""
    tiles_h, tiles_w = _grid(images.shape[1], images.shape[2], padding)
    padded = _padded(images, padding, (tiles_h, tiles_w), 6)
    return _tiles(padded[:, : TILE * (tiles_h - 1) + 6, : TILE * (tiles_w - 1) + 6], 6)


@check(tolerance=TOLERANCE)
def winograd_input(bench: Bench) -> None:
    for (height, width, channels), padding in SHAPES:
        images = bench.spikes(BATCH, height, width, channels)
        windows = _input_tiles(images, padding)
        for (first, count), has_mask in product(_chunks(len(windows)), (0, 1)):
            part = windows[first : first + count]
            expected, sizes = _transformed(INPUT, np.concatenate([part, part != 0]) if has_mask else part)
            step = expected[0].size + GAP
            arguments = (
                images,
                _blank_stack(bench, expected[0].size),
                step,
                first,
                count,
                has_mask,
                height,
                width,
                channels,
            )
            (result,) = bench.launch(count * channels, *arguments, *_grid(height, width, padding), *padding)
            _compare_stack(bench, result, expected, sizes)


@check(tolerance=TOLERANCE)
def winograd_weights(bench: Bench) -> None:
    _require_convolution(bench)
    for (depth, columns, panel), turned in product(((37, 45, 32), (3, 5, 5), (33, 64, 64)), (0, 1)):
        weights = bench.normal(3, 3, *((columns, depth) if turned else (depth, columns)))
        seen = weights[::-1, ::-1].swapaxes(2, 3) if turned else weights
        expected, sizes = _transformed(WEIGHTS, seen.reshape(1, 3, 3, -1).astype(np.float64))
        expected, sizes = (_in_panels(array.reshape(36, depth, columns), panel) for array in (expected, sizes))
        step = expected[0].size + GAP
        arguments = (weights, _blank_stack(bench, expected[0].size), step, turned, depth, columns, panel)
        (result,) = bench.launch(expected[0].size, *arguments)
        _compare_stack(bench, result, expected, sizes)


def _in_panels(stack: np.ndarray, panel: int) -> np.ndarray:
    """(36, rows, columns) to (36, panels, rows, panel), 0 beyond the last column."""
    count, rows, columns = stack.shape
    panels = -(-columns // panel)
    padded = np.pad(stack, ((0, 0), (0, 0), (0, panels * panel - columns)))
    return padded.reshape(count, rows, panels, panel).swapaxes(1, 2)


def _require_convolution(bench: Bench) -> None:
    """The matrices against the definition: a 3x3 kernel slid over a 6x6 tile."""
    tile, kernel = bench.random.standard_normal((6, 6)), bench.random.standard_normal((3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
    direct = np.einsum("yxab,ab->yx", windows, kernel)
    by_winograd = OUTPUT @ ((WEIGHTS @ kernel @ WEIGHTS.T) * (INPUT @ tile @ INPUT.T)) @ OUTPUT.T
    bench.require(np.allclose(direct, by_winograd, atol=1e-12), "the reference's own matrices make no convolution")


@check(tolerance=0.0)
def find_spikes(bench: Bench) -> None:
    for pixels, channels in ((70_003, 1), (9_001, 37)):
        images = bench.spikes(pixels, channels, silent=0.95)
        (spiked,) = bench.launch(images.size, images, bench.blank(pixels), pixels, channels)
        bench.compare(spiked, (images != 0).any(axis=1))


def _placed(bench: Bench, tiles: np.ndarray, first: int, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """tiles (count, 4, 4, channels), from the first on, in images (BATCH, *size, channels) that are NaN elsewhere."""
    whole = np.full((BATCH * grid[0] * grid[1], TILE, TILE, tiles.shape[3]), np.nan)
    whole[first : first + len(tiles)] = tiles
    joined = whole.reshape(BATCH, *grid, TILE, TILE, tiles.shape[3]).swapaxes(2, 3)
    return joined.reshape(BATCH, TILE * grid[0], TILE * grid[1], tiles.shape[3])[:, : size[0], : size[1]]


def _outputs(products: np.ndarray, rows: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The 4x4 outputs of products (36, rows * channels + GAP): (rows, 4, 4, channels), and their rounding's scale."""
    tiles = products[:, :-GAP].reshape(6, 6, rows, channels).transpose(2, 0, 1, 3).astype(np.float64)
    values, sizes = _transformed(OUTPUT, tiles)
    return tuple(array.reshape(TILE, TILE, rows, channels).transpose(2, 0, 1, 3) for array in (values, sizes))  # type: ignore[return-value]


@check(tolerance=TOLERANCE)
def winograd_output(bench: Bench) -> None:
    for (height, width, channels), _ in SHAPES:
        grid = (-(-height // TILE), -(-width // TILE))
        for first, count in _chunks(BATCH * grid[0] * grid[1]):
            products = bench.normal(36, count * channels + GAP)
            expected, sizes = (
                _placed(bench, tiles, first, (height, width), grid) for tiles in _outputs(products, count, channels)
            )
            blank = bench.blank(BATCH, height, width, channels)
            arguments = (products, products.shape[1], blank, first, count, height, width, channels, *grid)
            (images,) = bench.launch(count * channels, *arguments)
            bench.compare(images, expected, np.nan_to_num(sizes))


@check(tolerance=TOLERANCE)
def winograd_fire(bench: Bench) -> None:
    for ((height, width, channels), padding), slope in product(SHAPES, (1.0, 0.3, 0.0)):
        spiked = (bench.random.random((BATCH, height, width, 1)) < 0.2).astype(np.float32)
        seen = _input_tiles(spiked, padding)
        reached = np.any([seen[:, y : y + TILE, x : x + TILE] for y, x in product(range(3), range(3))], axis=0)
        size = (height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
        grid = _grid(height, width, padding)
        for first, count in _chunks(len(seen)):
            has_mask = int(slope > 0)
            rows = (1 + has_mask) * count
            products = bench.normal(36, rows * channels + GAP, scale=0.1)
            values, sizes = _outputs(products, rows, channels)
            part = reached[first : first + count]
            halves = [(half * part).reshape(count, TILE, TILE, channels) for half in (values[:count], sizes[:count])]
            sums = [half * part if has_mask else np.zeros_like(halves[0]) for half in (values[-count:], sizes[-count:])]
            drive, drive_size, weight_sum, sum_size = (
                _placed(bench, tiles, first, size, grid) for tiles in (*halves, *sums)
            )
            rule = (products, products.shape[1], spiked, np.full(1, slope, np.float32), 1.0, 1.0, has_mask)
            cut = (first, count, height, width, *padding, *size, channels, *grid)
            blanks = [bench.blank(BATCH, *size, channels) for _ in range(2)]
            earliness, kept = bench.launch(count * channels, *rule, *blanks, None, *cut)
            written = ~np.isnan(drive)
            bench.require((np.isnan(earliness) == ~written).all(), "it writes other neurons than those of its tiles")
            rounded = (Rounded(drive[written], drive_size[written]), Rounded(weight_sum[written], sum_size[written]))
            compare_spikes(bench, earliness[written], *rounded, slope, 1.0)
            bench.compare(kept, weight_sum, np.nan_to_num(sum_size))
            _compare_pooled(bench, earliness, kept, (rule, cut), count * channels)


def _compare_pooled(bench: Bench, earliness: np.ndarray, kept: np.ndarray, arguments: tuple, work: int) -> None:
    """Pooling as tiles leave, against pooling of what leaves without it: the same numbers."""
    (rule, cut), (_, height, width, channels) = arguments, earliness.shape
    shape = (BATCH, height // 2, width // 2, channels)
    if 0 in shape:
        return
    x, s = (
        array[:, : 2 * shape[1], : 2 * shape[2]]
        .reshape(BATCH, shape[1], 2, shape[2], 2, channels)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(BATCH, shape[1], shape[2], 4, channels)
        for array in (earliness, kept)
    )
    first = np.argmax(x, axis=3)  # the first of equals
    winner = np.where(np.isnan(x[:, :, :, 0]), bench.blank(dtype=np.uint8), np.where(x.max(axis=3) > 0, first, 255))
    expected = [np.take_along_axis(array, first[:, :, :, None], axis=3)[:, :, :, 0] for array in (x, s)]
    blanks = [bench.blank(*shape), bench.blank(*shape), bench.blank(*shape, dtype=np.uint8)]
    pooled, sums, won = bench.launch(work, *rule, *blanks, *cut)
    bench.compare(pooled, expected[0], 0.0)
    bench.compare(sums, expected[1], 0.0)
    bench.compare(won, winner, 0.0)


class _Gradients(NamedTuple):
    """grad, earliness, weight_sum and winner as kernels take them; float64's dLoss/dA and dLoss/dS at full size."""

    arrays: tuple
    rule: tuple
    to_drive: Rounded
    to_sum: Rounded


def _gradients(bench: Bench, size: tuple[int, int], channels: int, pooled: bool, has_sum: int) -> _Gradients:
    height, width = size
    shape = (BATCH, height // 2, width // 2, channels) if pooled else (BATCH, height, width, channels)
    grad, earliness, weight_sum = bench.normal(*shape), bench.spikes(*shape), bench.uniform(-0.5, 4, *shape)
    rule = (np.full(1, has_sum, np.float32), 1.0, 1.0, 5.0, has_sum)
    given = outgoing(grad, earliness, weight_sum, *rule)
    winner = bench.random.integers(0, 4, shape).astype(np.uint8) if pooled else None
    spread = [_spread(array, winner, size) for array in given]
    arrays = (grad, earliness, weight_sum if has_sum else None, winner)
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
def winograd_drive_gradient(bench: Bench) -> None:
    for ((height, width, channels), padding), pooled, has_sum in product(SHAPES, (False, True), (0, 1)):
        gradients = _gradients(bench, (height, width), channels, pooled, has_sum)
        tiles, bounds = (_input_tiles(array, padding) for array in gradients.to_drive)
        for first, count in _chunks(len(tiles)):
            expected, _ = _transformed(INPUT, tiles[first : first + count])
            sizes, _ = _transformed(np.abs(INPUT), bounds[first : first + count])
            step = expected[0].size + GAP
            arguments = (*gradients.arrays, *gradients.rule, _blank_stack(bench, expected[0].size), step, first, count)
            sizes_of_images = (height, width, channels, *_grid(height, width, padding), *padding)
            (result,) = bench.launch(count * channels, *arguments, *sizes_of_images)
            _compare_stack(bench, result, expected, sizes)


@check(tolerance=TOLERANCE)
def winograd_gradient(bench: Bench) -> None:
    for ((height, width, channels), _), pooled, has_sum in product(SHAPES, (False, True), (0, 1)):
        gradients = _gradients(bench, (height, width), channels, pooled, has_sum)
        grid = (-(-height // TILE), -(-width // TILE))
        values, bounds = (
            [_tiles(_padded(half[place], (0, 0), grid, TILE), TILE) for half in (gradients.to_drive, gradients.to_sum)]
            for place in range(2)
        )
        for (first, count), panel in product(_chunks(len(values[0])), (32, channels)):
            part, halves = slice(first, first + count), 1 + has_sum
            expected, _ = _transformed(OUTPUT.T, np.concatenate([half[part] for half in values[:halves]]))
            sizes, _ = _transformed(np.abs(OUTPUT.T), np.concatenate([half[part] for half in bounds[:halves]]))
            expected, sizes = (_in_panels(array, panel) for array in (expected, sizes))
            step = expected[0].size + GAP
            arguments = (
                *gradients.arrays,
                *gradients.rule,
                _blank_stack(bench, expected[0].size),
                step,
                first,
                count,
                has_sum,
            )
            work = expected[0].size // halves
            (result,) = bench.launch(work, *arguments, height, width, channels, panel, *grid)
            _compare_stack(bench, result, expected, sizes)


@check(tolerance=TOLERANCE)
def winograd_weight_gradient(bench: Bench) -> None:
    for rows, columns in ((501, 70), (1, 5)):
        sums = bench.normal(36, rows * columns + GAP)
        expected, sizes = _transformed(WEIGHTS.T, sums[:, :-GAP].reshape(1, 6, 6, -1).astype(np.float64))
        blank = bench.blank(9, rows * columns)
        (result,) = bench.launch(rows * columns, sums, sums.shape[1], blank, rows, columns)
        bench.compare(result, expected[:, 0], sizes[:, 0])
