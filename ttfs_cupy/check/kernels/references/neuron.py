"""A spiking neuron in float64 (docs/model.md), for the checks of all kernels that fire or differentiate."""

from typing import NamedTuple

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial

# Of a sum in float32, relative to the sum of its terms' sizes: how far it may be from float64's.
ROUNDING = 2e-6


class Rounded(NamedTuple):
    """What a kernel computes on its way, and what its rounding is relative to."""

    value: np.ndarray
    size: np.ndarray


def compare_spikes(
    trial: KernelTrial, earliness: np.ndarray, drive: Rounded, weight_sum: Rounded, slope: float, t_win: float
) -> None:
    """The earliness that a kernel made of a drive and a weight sum of its own, against float64's.

    A neuron may fall on the other side of a brink only where rounding of A and S decides
    (docs/model.md, "Sensitivity").
    """
    slope, t_win = float(np.float32(slope)), float(np.float32(t_win))
    a, s = drive.value, weight_sum.value
    growth, numerator = 1 + slope * s, a + slope * t_win * s
    fires = (growth > 0) & (numerator > 0)
    inside = np.minimum(numerator / np.where(fires, growth, 1), t_win)
    expected = np.where(a >= t_win, t_win, np.where(fires, inside, 0))
    growth_size, numerator_size = 1 + slope * weight_sum.size, drive.size + slope * t_win * weight_sum.size
    undecided = (np.abs(numerator) < ROUNDING * numerator_size) | (np.abs(growth) < ROUNDING * growth_size)
    undecided |= (np.abs(a - t_win) <= ROUNDING * (drive.size + t_win)) & (growth <= 0)
    flipped = ((earliness != 0) != (expected != 0)) | ((earliness == t_win) & (growth <= 0)) != (
        (a >= t_win) & (growth <= 0)
    )
    wrong = int((flipped & ~undecided).sum())
    trial.require(wrong == 0, f"{wrong} neurons fire where they should be silent, or the reverse")
    trial.require(undecided.mean() <= 0.01, "too many neurons are left for rounding to decide")
    trial.require(((earliness >= 0) & (earliness <= t_win)).all(), "some spikes lie outside the window")
    scale = np.where(fires, (numerator_size + t_win * growth_size) / np.where(fires, growth, 1), t_win)
    settled = ~flipped & ~undecided
    trial.compare(earliness[settled], expected[settled], scale[settled])


class Outgoing(NamedTuple):
    """dLoss/dA and dLoss/dS, and what their rounding is relative to."""

    to_drive: np.ndarray
    to_sum: np.ndarray
    drive_size: np.ndarray
    sum_size: np.ndarray


def outgoing(
    grad: np.ndarray,
    earliness: np.ndarray,
    weight_sum: np.ndarray,
    psp_slope: np.ndarray,
    scale: float,
    t_win: float,
    grad_clip: float,
    separate: int,
) -> Outgoing:
    """psp_slope is (1,), as the kernels take it; the rest as in kernels/neuron.h."""
    g, x, s = (array.astype(np.float64) for array in (grad, earliness, weight_sum))
    slope, window = float(psp_slope[0]), float(np.float32(t_win))
    inside = (earliness > 0) & (earliness < np.float32(t_win))
    growth = np.where(inside, 1 + slope * s, 1)
    # D may be close to 0, where rounding S moves it by much
    condition = (1 + slope * np.abs(s)) / growth
    bounded = np.minimum(1 / growth, grad_clip)
    outer = np.where(inside, g, 0)
    if separate:
        by_time, by_sum = (
            np.clip(1 / growth, -grad_clip, grad_clip),
            np.clip(-(2 * window - x) / growth, -grad_clip, grad_clip),
        )
        to_sum = -outer * (window * by_time + by_sum)
        # the two nearly cancel
        sum_size = np.abs(outer) * (window * np.abs(by_time) + np.abs(by_sum)) * condition
    else:
        to_sum = outer * slope * (window - x) * bounded
        sum_size = np.abs(to_sum) * condition
    to_drive = outer * scale * bounded
    return Outgoing(to_drive, to_sum, np.abs(to_drive) * condition, sum_size)
