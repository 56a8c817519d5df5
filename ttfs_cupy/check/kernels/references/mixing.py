"""What the kernels of mixing draw and compute, plainly, image by image, in float64."""

import math

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.check.kernels.references.augmentation import BLOCKS, LOW, below, philox, unit

# the first blocks of what is drawn beside an augmentation
MIXTURE, PARTNER = 1 << 20, 1 << 21
MIXUP, CUTMIX = 0, 1


def _words(seed: int, *counter: int) -> list[int]:
    key = np.array([seed & LOW, seed >> 32], np.uint32)
    return [int(word) for word in philox(np.array(counter, np.uint32), key)]


def drawn_partners(
    order: NDArray[np.integer], occurrences: NDArray[np.integer], epoch: int, seed: int
) -> NDArray[np.int32]:
    """Of each place in an epoch's order another one, int32 (N,)."""
    drawn = [
        below(_words(seed, image, epoch, occurrence, PARTNER)[0], len(order))
        for image, occurrence in zip(order, occurrences, strict=True)
    ]
    return np.array(drawn, np.int32)


def drawn_mixtures(
    images: NDArray[np.integer],
    occurrences: NDArray[np.integer],
    epoch: int,
    seed: int,
    alpha: float,
    cut: int,
    size: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    """Shares and weights, float64 (N,), and boxes, int32 (N, 4), as kernels/draws.cu names them."""
    rows = [
        _mixture(seed, (image, epoch, occurrence), float(np.float32(alpha)), cut, size)
        for image, occurrence in zip(images.tolist(), occurrences.tolist(), strict=True)
    ]
    shares, weights, boxes = zip(*rows, strict=True)
    return np.array(shares), np.array(weights), np.array(boxes, np.int32)


def _mixture(
    seed: int, of: tuple[int, int, int], alpha: float, cut: int, size: tuple[int, int]
) -> tuple[float, float, list[int]]:
    own, other = (_log_gamma(seed, of, MIXTURE + BLOCKS * part, alpha) for part in (2, 4))
    share = float(np.float32(1 / (1 + math.exp(min(other - own, 700)))))
    row, column, coin, _ = _words(seed, *of, MIXTURE)
    if cut == MIXUP or (cut != CUTMIX and coin >> 31):
        return share, share, [0, 0, 0, 0]
    side = math.sqrt(1 - share)
    edges: list[int] = []
    for length, word in zip(size, (row, column), strict=True):
        half, middle = int(length * side) // 2, below(word, length)
        edges += [max(middle - half, 0), min(middle + half, length)]
    top, bottom, left, right = edges
    return 1 - (bottom - top) * (right - left) / (size[0] * size[1]), 1.0, edges


def _log_gamma(seed: int, of: tuple[int, int, int], block: int, alpha: float) -> float:
    """The logarithm of a Gamma number of shape alpha: Marsaglia and Tsang (2000)."""
    d = (alpha + 1 if alpha < 1 else alpha) - 1 / 3
    for attempt in range(BLOCKS):
        first, second, third, _ = _words(seed, *of, block + 1 + attempt)
        normal = math.sqrt(-2 * math.log(1 - unit(first))) * math.cos(2 * math.pi * unit(second))
        cube = (1 + normal / math.sqrt(9 * d)) ** 3
        if cube > 0 and math.log(1 - unit(third)) < normal**2 / 2 + d - d * cube + d * math.log(cube):
            drawn = math.log(d * cube)
            break
    else:
        drawn = math.log(d)
    return drawn if alpha >= 1 else drawn + math.log(1 - unit(_words(seed, *of, block)[0])) / alpha
