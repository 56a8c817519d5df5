"""Checks of neuron.cu: docs/model.md, "A spiking layer" in float64, and how rounding may move it."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.neuron import Rounded, compare_spikes, outgoing
from ttfs_cupy.check.kernels.registry import check

# several blocks, several shares, and odd
COUNT = 70_003

# Of neurons with initial potentials
CHANNELS = 73
CHARGED = COUNT // CHANNELS * CHANNELS

# (psp_slope, t_win), also such as float32 has to round
RULES = ((1.0, 1.0), (1.0, 3.0), (0.3, 0.7), (0.0, 1.0))

# Four roundings of half a unit: a float64 decision closer than this to its brink may fall the other way in float32.
ROUNDING = 2.0**-22

# Neurons put so close to their brink that rounding decides about them.
UNDECIDED = 500

# (drive, weight_sum) in units of t_win and 1: silence; D = 0 above, at and below the threshold; D < 0; D hardly above
# 0; fires as the window opens, and just not; exactly at the brink of silence.
EDGES = (
    (0.0, 0.0), (0.5, -1.0), (1.0, -1.0), (2.0, -1.0), (-1.0, -1.0), (0.5, -3.0), (1.5, -3.0), (0.999, -0.999999),
    (1.0, 0.0), (1.0, 5.0), (1.0 - 2.0**-24, 0.0), (-1.0, 1.0), (1.0, -1.0 + 2.0**-24), (0.0, 1e6), (-1e6, 0.0),
)  # fmt: skip


@check(tolerance=2.0**-22)
def fire(trial: KernelTrial) -> None:
    for slope, t_win in RULES:
        slope, t_win = float(np.float32(slope)), float(np.float32(t_win))
        drive, weight_sum = _neurons(trial, slope, t_win)
        # half the drive, which the scale makes whole again
        arguments = (drive / 2, weight_sum, np.full(1, slope, np.float32), 2.0, t_win, None, trial.blank(drive.size))
        (earliness,) = trial.launch(drive.size, *arguments, 1, drive.size)
        _compare_spikes(trial, earliness, drive.astype(np.float64), weight_sum.astype(np.float64), slope, t_win)
    _without_weight_sum(trial)
    for slope, t_win in RULES:
        drive, weight_sum, initial = trial.normal(CHARGED), trial.normal(CHARGED), trial.normal(CHANNELS, scale=0.4)
        rule = (drive, weight_sum, np.full(1, slope, np.float32), 2.0, t_win, initial)
        (earliness,) = trial.launch(CHARGED, *rule, trial.blank(CHARGED), CHANNELS, CHARGED)
        scaled, more = 2.0 * drive, float(np.float32(t_win)) * np.resize(initial, CHARGED).astype(np.float64)
        of_drive = Rounded(scaled + more, np.abs(scaled) + np.abs(more))
        compare_spikes(trial, earliness, of_drive, Rounded(weight_sum, np.abs(weight_sum)), slope, t_win)


def _without_weight_sum(trial: KernelTrial) -> None:
    """Then psp_slope counts as 0: x = clip(scale A, 0, T)."""
    drive = trial.normal(COUNT)
    drive[:5] = 0.0, 1.0, -1.0, 2.0, -0.0
    for scale, t_win in ((1.0, 1.0), (3.0, 3.0), (0.5, 0.7)):
        arguments = (drive, None, np.ones(1, np.float32), scale, t_win, None, trial.blank(COUNT))
        (earliness,) = trial.launch(COUNT, *arguments, 1, COUNT)
        trial.compare(earliness, np.clip(np.float32(scale) * drive.astype(np.float64), 0, np.float32(t_win)))


def _neurons(trial: KernelTrial, slope: float, t_win: float) -> tuple[np.ndarray, np.ndarray]:
    drive, weight_sum = trial.normal(COUNT, scale=t_win), trial.normal(COUNT, scale=1.5)
    # the last share gets the edges, the first one the neurons at the brink A = - L T S
    edges = np.array(EDGES) * (t_win, 1.0)
    drive[-len(edges) :], weight_sum[-len(edges) :] = edges.T
    weight_sum[:UNDECIDED] = np.abs(weight_sum[:UNDECIDED])
    drive[:UNDECIDED] = -slope * t_win * weight_sum[:UNDECIDED].astype(np.float64)
    return drive, weight_sum


def _compare_spikes(
    trial: KernelTrial, earliness: np.ndarray, a: np.ndarray, s: np.ndarray, slope: float, t_win: float
) -> None:
    growth, numerator = 1 + slope * s, a + slope * t_win * s
    fires = (growth > 0) & (numerator > 0)
    inside = np.minimum(numerator / np.where(fires, growth, 1), t_win)
    expected = np.where(a >= t_win, t_win, np.where(fires, inside, 0))

    # docs/model.md, "Sensitivity": a neuron may flip where rounding decides, and nowhere else
    terms = 1 + slope * np.abs(s)
    sizes = np.abs(a) + t_win * terms
    undecided = (np.abs(numerator) <= ROUNDING * sizes) | (np.abs(growth) <= ROUNDING * terms)
    flipped = (earliness != 0) != (expected != 0)
    wrong = int((flipped & ~undecided).sum())
    trial.require(wrong == 0, f"{wrong} neurons fire where they should be silent, or the reverse")
    trial.require(undecided.sum() <= UNDECIDED + len(EDGES) + 10, "too many neurons are left for rounding to decide")
    trial.require(((earliness >= 0) & (earliness <= t_win)).all(), "some spikes lie outside the window")
    # of x = numerator / growth; a spike as the window opens, and silence, have no error at all
    scale = np.where(fires & (a < t_win), sizes / np.where(fires, growth, 1), 0)
    trial.compare(earliness[~flipped], expected[~flipped], scale[~flipped])


@check(tolerance=0.0)
def exclude_silent(trial: KernelTrial) -> None:
    for count in (1, COUNT):
        earliness = trial.spikes(count)
        earliness[0] = 0.0
        # silence of either sign; spikes that hardly are any, and what is no number
        earliness[1:5] = (-0.0, 1e-45, 1e6, np.nan)[: count - 1]
        (logits,) = trial.launch(count, earliness, -104.0, trial.blank(count), count)
        trial.compare(logits, np.where(earliness == 0, -104.0, earliness.astype(np.float64)))


@check(tolerance=2.0**-22)
def potential(trial: KernelTrial) -> None:
    drive, weight_sum = trial.normal(COUNT), trial.normal(COUNT, scale=5)
    a, s = drive.astype(np.float64), weight_sum.astype(np.float64)
    for slope, t_win in RULES:
        slope_array = np.full(1, slope, np.float32)
        term = float(slope_array[0]) * float(np.float32(t_win)) * s
        rule = (slope_array, t_win)
        (membrane,) = trial.launch(COUNT, drive, weight_sum, *rule, None, trial.blank(COUNT), 1, COUNT)
        trial.compare(membrane, a + term, np.abs(a) + np.abs(term))
        initial, few = trial.normal(CHANNELS), slice(CHARGED)
        charged = (drive[few].copy(), weight_sum[few].copy(), *rule, initial)
        (membrane,) = trial.launch(CHARGED, *charged, trial.blank(CHARGED), CHANNELS, CHARGED)
        more = float(np.float32(t_win)) * np.resize(initial, CHARGED).astype(np.float64)
        trial.compare(membrane, (a + term)[few] + more, (np.abs(a) + np.abs(term))[few] + np.abs(more))


# (psp_slope, scale, t_win, grad_clip, separate): each way to clip
DERIVATIVES = (
    *((slope, 1.0, t_win, most, 0) for slope, t_win in RULES for most in (1.0, 5.0, np.inf)),
    *((1.0, 1.0, t_win, most, 1) for t_win, most in ((1.0, 1.0), (3.0, 2.0), (1.0, 1e30))),
    (0.0, 3.0, 3.0, np.inf, 0),
)


@check(tolerance=2.0**-20)
def spike_gradient(trial: KernelTrial) -> None:
    for slope, scale, t_win, most, separate in DERIVATIVES:
        grad, earliness, weight_sum, inside = _backward_inputs(trial, slope, t_win)
        rule = (np.full(1, slope, np.float32), scale, t_win, most, separate)
        expected = outgoing(grad, earliness, weight_sum, *rule)
        grad_drive, grad_sum = _launch_gradient(trial, grad, earliness, weight_sum, *rule)
        trial.compare(grad_drive, expected.to_drive, expected.drive_size)
        trial.compare(grad_sum, expected.to_sum, expected.sum_size)
    # without a weight sum psp_slope counts as 0
    rule = (np.ones(1, np.float32), 0.5, 3.0, 1.0, 0)
    grad, earliness, _, inside = _backward_inputs(trial, 1.0, 3.0)
    (grad_drive,) = trial.launch(COUNT, grad, earliness, None, *rule, trial.blank(COUNT), None, COUNT)
    trial.compare(grad_drive, np.where(inside, grad.astype(np.float64) * 0.5, 0))


def _backward_inputs(trial: KernelTrial, slope: float, t_win: float) -> tuple[np.ndarray, ...]:
    """grad, earliness, weight_sum, and which neurons fired strictly inside their window: those have D > 0."""
    slope, t_win = float(np.float32(slope)), float(np.float32(t_win))
    grad, earliness = trial.normal(COUNT), trial.uniform(0, t_win, COUNT)
    earliness[::3], earliness[1::7] = 0.0, t_win
    earliness[2], earliness[5] = np.nextafter(np.float32(t_win), np.float32(0)), 1e-30
    weight_sum = trial.uniform(-0.999, 4.0, COUNT)
    weight_sum[::50] = -0.9999999
    inside = (earliness > 0) & (earliness < t_win)
    # D of a neuron that did not fire inside may be anything
    weight_sum[~inside] = trial.normal(int((~inside).sum()), scale=3)
    weight_sum[0] = -1.0
    grad[[2, 9, 10]] = np.nan, np.nan, 0.0
    return grad, earliness, weight_sum, inside


def _launch_gradient(trial: KernelTrial, *inputs: object) -> tuple[np.ndarray, np.ndarray]:
    """grad_drive and grad_sum; without the latter, grad_drive must be the same."""
    grad_drive, grad_sum = trial.launch(COUNT, *inputs, trial.blank(COUNT), trial.blank(COUNT), COUNT)
    (without_sum,) = trial.launch(COUNT, *inputs, trial.blank(COUNT), None, COUNT)
    trial.require(without_sum.tobytes() == grad_drive.tobytes(), "grad_sum changes what grad_drive gets")
    return grad_drive, grad_sum


@check(tolerance=2.0**-22)
def potential_gradient(trial: KernelTrial) -> None:
    grad = trial.normal(COUNT)
    grad[7] = np.nan
    for slope, t_win in RULES:
        slope_array = np.full(1, slope, np.float32)
        grad_drive, grad_sum = _launch_gradient(trial, grad, slope_array, t_win)
        trial.compare(grad_drive, grad, 0.0)
        trial.compare(grad_sum, float(slope_array[0]) * float(np.float32(t_win)) * grad.astype(np.float64))
