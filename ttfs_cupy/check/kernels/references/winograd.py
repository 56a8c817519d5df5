"""Winograd's matrices in float64, from the definition of interpolation alone, for the checks of winograd.cu."""

from collections.abc import Mapping

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial

_A, _B = np.sqrt(0.5), np.sqrt(2.0)
# The points of a whole tile, infinity being None; a tile of size r takes the first r + 2.
_POINTS = (0.0, None, _A, -_A, _B, -_B)
_SIZES = (2, 3, 4)


def _finite(size: int) -> list[float]:
    return [point for point in _POINTS[: size + 2] if point is not None]


def _factor(point: float, size: int) -> float:
    """The product of its distances from the other points."""
    return float(np.prod([point - other for other in _finite(size) if other != point]))


def _input(size: int) -> np.ndarray:
    """(size + 2, size + 2): Lagrange's polynomials, without the factor that the weights of a whole tile have."""
    rows = []
    for point in _POINTS[: size + 2]:
        if point is None:
            rows.append(np.poly(_finite(size))[::-1])
        else:
            others = [other for other in _finite(size) if other != point]
            polynomial = np.append(np.poly(others)[::-1], 0.0)
            rows.append(polynomial * _factor(point, 4) / _factor(point, size))
    return np.array(rows)


def _output(size: int) -> np.ndarray:
    """(size, size + 2): powers of the points; infinity sees the highest one only."""
    columns = [
        np.eye(size)[-1] if point is None else np.array([point**k for k in range(size)])
        for point in _POINTS[: size + 2]
    ]
    return np.array(columns).T


# By the side of what they are applied to: the pixels that a tile reads, and the positions of its products.
INPUT: Mapping[int, np.ndarray] = {size + 2: _input(size) for size in _SIZES}
OUTPUT: Mapping[int, np.ndarray] = {size + 2: _output(size) for size in _SIZES}
# (6, 3): of a whole tile, which the smaller ones share
WEIGHTS = np.array(
    [[0, 0, 1] if point is None else np.array([1, point, point**2]) / _factor(point, 4) for point in _POINTS]
)


def transformed(matrices: Mapping[int, np.ndarray], tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """M tile N^T for tiles (rows, h, w, channels), M and N by h and w: (positions, rows, channels).

    And the same of the absolute values, which rounding is relative to.
    """
    vertical, horizontal = matrices[tiles.shape[1]], matrices[tiles.shape[2]]
    values, sizes = (
        np.einsum("ay,bx,ryxc->abrc", m, n, t, optimize=True)
        for m, n, t in ((vertical, horizontal, tiles), (np.abs(vertical), np.abs(horizontal), np.abs(tiles)))
    )
    flat = (-1, *values.shape[2:])
    return values.reshape(flat), sizes.reshape(flat)


def require_convolution(trial: KernelTrial) -> None:
    """The matrices against the definition: a 3x3 kernel slid over what a tile reads."""
    for height in _SIZES:
        for width in _SIZES:
            tile = trial.random.standard_normal((height + 2, width + 2))
            kernel = trial.random.standard_normal((3, 3))
            windows = np.lib.stride_tricks.sliding_window_view(tile, (3, 3))
            direct = np.einsum("yxab,ab->yx", windows, kernel)
            weights = (WEIGHTS @ kernel @ WEIGHTS.T)[: height + 2, : width + 2]
            inputs = INPUT[height + 2] @ tile @ INPUT[width + 2].T
            by_winograd = OUTPUT[height + 2] @ (weights * inputs) @ OUTPUT[width + 2].T
            trial.require(np.allclose(direct, by_winograd, atol=1e-12), "the reference's own matrices do not convolve")
