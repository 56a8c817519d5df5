"""Checks of the initial potentials' gradient, on a CPU and by a GPU's blocks."""

from collections.abc import Callable

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.neuron import outgoing
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.device import initial_potential
from ttfs_cupy.device.gpu_limits import WARP
from ttfs_cupy.device.parts import parts

# (rows, rows of a part, channels): several parts, the last one shorter; one part; channels below and above a strip's
CUTS = ((1_000, 300, 37), (513, 512, 70), (70, 100, 5), (1, 1, 1), (300, 64, 128))

# (psp_slope, t_win, grad_clip, separate, fires): each way to clip; a readout; without weight sums
RULES = (
    (1.0, 1.0, 1.0, 0, 1),
    (0.3, 3.0, np.inf, 0, 1),
    (1.0, 0.7, 2.0, 1, 1),
    (1.0, 3.0, 1.0, 0, 0),
    (0.0, 3.0, 1.0, 0, 1),
)


def _check(trial: KernelTrial, launch: Callable[..., list[np.ndarray]]) -> None:
    for rows, part_rows, channels in CUTS:
        for slope, t_win, most, separate, fires in RULES:
            grad, x = trial.normal(rows, channels), trial.uniform(0, t_win, rows, channels)
            x[::3], x[1::7] = 0.0, np.float32(t_win)
            s = trial.uniform(-0.7, 2.0, rows, channels)
            rule = (np.full(1, slope, np.float32), t_win, most, separate)
            expected, sizes = float(np.float32(t_win)) * grad.astype(np.float64), np.abs(grad) * t_win
            if fires:
                made = outgoing(grad, x, s, rule[0], *(float(np.float32(t_win)), t_win), *rule[2:])
                expected, sizes = made.to_drive, made.drive_size
            count = parts(rows, part_rows)
            cut = (count, part_rows, rows, channels)
            arguments = (grad, x, s if slope else None, *rule, fires, trial.blank(count, channels), *cut)
            (sums,) = launch(rows * channels, count * parts(channels, WARP), *arguments)
            firsts = range(0, rows, part_rows)
            of_parts, of_sizes = (
                np.stack([values[first : first + part_rows].sum(axis=0) for first in firsts])
                for values in (expected, sizes)
            )
            trial.compare(sums, of_parts, of_sizes)


@check(tolerance=2e-6)
def initial_potential_gradient(trial: KernelTrial) -> None:
    _check(trial, lambda work, _, *arguments: trial.launch(work, *arguments))


@check(tolerance=2e-6)
def initial_potential_gradient_by_blocks(trial: KernelTrial) -> None:
    _check(trial, lambda _, blocks, *arguments: trial.launch_blocks(initial_potential.GRADIENT, blocks, *arguments))
