"""Checks of winograd.cu: the transforms as float64 matrices, themselves checked to make a convolution."""

from collections.abc import Iterator
from itertools import product

import numpy as np

from ttfs_cupy.kernel_checks.bench import Bench
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

TOLERANCE = 1e-6


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


@check(tolerance=TOLERANCE)
def winograd_input(bench: Bench) -> None:
    for (height, width, channels), padding in SHAPES:
        images, zeros = bench.spikes(BATCH, height, width, channels), np.zeros(channels, np.float32)
        # of a convolution's output, which is smaller than its input by 2 less twice the padding
        tiles_h, tiles_w = (-(-(size + 2 * p - 2) // TILE) for size, p in zip((height, width), padding, strict=True))
        padded = _padded(images, padding, (tiles_h, tiles_w), 6)
        padded = padded[:, : TILE * (tiles_h - 1) + 6, : TILE * (tiles_w - 1) + 6]
        windows = _tiles(padded, 6)
        for (first, count), has_mask in product(_chunks(len(windows)), (0, 1)):
            part = windows[first : first + count]
            expected, sizes = _transformed(INPUT, np.concatenate([part, part != 0]) if has_mask else part)
            arguments = (images, zeros, bench.blank(*expected.shape), first, count, has_mask)
            sizes_of_images = (height, width, channels, tiles_h, tiles_w, *padding)
            (result,) = bench.launch(expected.size, *arguments, *sizes_of_images)
            bench.compare(result, expected, sizes)


@check(tolerance=TOLERANCE)
def winograd_weights(bench: Bench) -> None:
    _require_convolution(bench)
    for count, flipped in product((35_003, 5), (0, 1)):
        weights = bench.normal(3, 3, count)
        turned = weights[::-1, ::-1] if flipped else weights
        expected, sizes = _transformed(WEIGHTS, turned[None].astype(np.float64))
        (result,) = bench.launch(count, weights, bench.blank(36, count), flipped, count)
        bench.compare(result, expected[:, 0], sizes[:, 0])


def _require_convolution(bench: Bench) -> None:
    """The matrices against the definition: a 3x3 kernel slid over a 6x6 tile."""
    tile, kernel = bench.random.standard_normal((6, 6)), bench.random.standard_normal((3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
    direct = np.einsum("yxab,ab->yx", windows, kernel)
    by_winograd = OUTPUT @ ((WEIGHTS @ kernel @ WEIGHTS.T) * (INPUT @ tile @ INPUT.T)) @ OUTPUT.T
    bench.require(np.allclose(direct, by_winograd, atol=1e-12), "the reference's own matrices make no convolution")


@check(tolerance=TOLERANCE)
def winograd_output(bench: Bench) -> None:
    for rows, channels in ((61, 37), (1, 3)):
        products = bench.normal(36, rows, channels)
        tiles = products.reshape(6, 6, rows, channels).transpose(2, 0, 1, 3).astype(np.float64)
        expected, sizes = _transformed(OUTPUT, tiles)
        arguments = (products, bench.blank(rows, 16, channels), rows, channels)
        (result,) = bench.launch(expected.size, *arguments)
        bench.compare(result, expected.swapaxes(0, 1), sizes.swapaxes(0, 1))


@check(tolerance=0.0)
def find_spikes(bench: Bench) -> None:
    for pixels, channels in ((70_003, 1), (9_001, 37)):
        images = bench.spikes(pixels, channels, silent=0.95)
        (spiked,) = bench.launch(images.size, images, bench.blank(pixels), pixels, channels)
        bench.compare(spiked, (images != 0).any(axis=1))


@check(tolerance=0.0)
def silence_unreached(bench: Bench) -> None:
    for (height, width, channels), padding in SHAPES:
        spiked = (bench.random.random((BATCH, height, width, 1)) < 0.05).astype(np.float32)
        tiles_h, tiles_w = (-(-(size + 2 * p - 2) // TILE) for size, p in zip((height, width), padding, strict=True))
        padded = _padded(spiked, padding, (tiles_h, tiles_w), 6)
        tiles = _tiles(padded[:, : TILE * (tiles_h - 1) + 6, : TILE * (tiles_w - 1) + 6], 6)
        seen = [tiles[:, y : y + TILE, x : x + TILE] != 0 for y, x in product(range(3), range(3))]
        reached = np.any(seen, axis=0).reshape(len(tiles), TILE**2, 1)
        for (first, count), halves in product(_chunks(len(tiles)), (1, 2)):
            pixels = bench.normal(halves, count, TILE**2, channels)
            sizes = (height, width, channels, tiles_h, tiles_w, *padding)
            (result,) = bench.launch(pixels.size, pixels, spiked, first, count, halves, *sizes)
            bench.compare(result, np.where(reached[first : first + count], pixels, 0))


@check(tolerance=0.0)
def place_tiles(bench: Bench) -> None:
    for (height, width, channels), _ in SHAPES:
        tiles_h, tiles_w = -(-height // TILE), -(-width // TILE)
        tiles = bench.normal(BATCH * tiles_h * tiles_w, 16, channels)
        for first, count in _chunks(len(tiles)):
            placed = bench.blank(len(tiles), 16, channels)
            placed[first : first + count] = tiles[first : first + count]
            whole = placed.reshape(BATCH, tiles_h, tiles_w, TILE, TILE, channels).swapaxes(2, 3)
            expected = whole.reshape(BATCH, TILE * tiles_h, TILE * tiles_w, channels)[:, :height, :width]
            part, blank = tiles[first : first + count].copy(), bench.blank(BATCH, height, width, channels)
            arguments = (part, blank, first, count, height, width, channels, tiles_h, tiles_w)
            (images,) = bench.launch(part.size, *arguments)
            bench.compare(images, expected)


@check(tolerance=TOLERANCE)
def winograd_gradient(bench: Bench) -> None:
    for (height, width, channels), _ in SHAPES:
        grads, zeros = bench.normal(BATCH, height, width, channels), np.zeros(channels, np.float32)
        tiles_h, tiles_w = -(-height // TILE), -(-width // TILE)
        windows = _tiles(_padded(grads, (0, 0), (tiles_h, tiles_w), TILE), TILE)
        for first, count in _chunks(len(windows)):
            # into the second half of a matrix, as the gradient of S goes below that of A
            expected, sizes = (bench.blank(36, 2 * count, channels).astype(np.float64) for _ in range(2))
            expected[:, count:], sizes[:, count:] = _transformed(OUTPUT.T, windows[first : first + count])
            arguments = (grads, zeros, bench.blank(*expected.shape), first, count, count, 2 * count)
            (result,) = bench.launch(expected.size // 2, *arguments, height, width, channels, tiles_h, tiles_w)
            bench.compare(result, expected, sizes)


@check(tolerance=TOLERANCE)
def winograd_weight_gradient(bench: Bench) -> None:
    for count in (35_003, 5):
        sums = bench.normal(36, count)
        expected, sizes = _transformed(WEIGHTS.T, sums.reshape(1, 6, 6, count).astype(np.float64))
        (result,) = bench.launch(count, sums, bench.blank(9, count), count)
        bench.compare(result, expected[:, 0], sizes[:, 0])
