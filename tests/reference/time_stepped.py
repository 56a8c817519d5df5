"""The model in discrete time, in NumPy float64 and plain loops: one neuron, one time step, one spike after the other.

Nothing is solved for: each step adds a slope to a potential, and a neuron spikes at the first step at which it has met
its threshold. A spike's step is 0, as its window opens, to `window`; None is silence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reference.specification import LayerSpec

Step = int | None


@dataclass(frozen=True)
class Neuron:
    """What one did: its spike, and its potential as its window opens and closes."""

    step: Step
    opening: float
    closing: float


def neuron(
    steps: Sequence[Step],
    weights: Sequence[float],
    *,
    window: int,
    t_win: float = 1.0,
    psp_slope: float = 1.0,
    initial: float = 0.0,
    currents: Sequence[float] | None = None,
) -> Neuron:
    """One neuron, through its inputs' window and its own.

    currents: what a weight is multiplied by until the own window opens, for an input code that has no spikes.
    """
    dt = t_win / window
    potential, slope = 0.0, 0.0
    for now in range(window + 1):
        for place, step in enumerate(steps):
            if step == now:
                slope += weights[place] * (1.0 if currents is None else currents[place])
        if now < window:
            potential += slope * dt
    slope = psp_slope * sum(weight for step, weight in zip(steps, weights, strict=True) if step is not None)
    potential += t_win * initial
    opening, spike = potential, None
    for now in range(window):
        threshold = t_win - now * dt
        if spike is None and potential >= threshold:
            spike = now
        potential += slope * dt
    if spike is None and potential > 0:
        spike = window
    return Neuron(spike, opening, potential)


def convolution(
    steps: np.ndarray,
    weight: np.ndarray,
    spec: LayerSpec,
    *,
    window: int,
    t_win: float,
    psp_slope: float,
    initial: np.ndarray | None = None,
    currents: np.ndarray | None = None,
) -> list[Neuron]:
    """All neurons of one image, in the order (channel, height, width). steps (C, H, W): -1 is silence."""
    (top, left), (down, right), (kernel_h, kernel_w) = spec.padding, spec.stride, spec.kernel
    channels, height, width = steps.shape
    rows = (height + 2 * top - kernel_h) // down + 1
    columns = (width + 2 * left - kernel_w) // right + 1
    found = []
    for out, y, x in np.ndindex(len(weight), rows, columns):
        arriving: list[Step] = []
        weights, values = [], []
        for c, tap_y, tap_x in np.ndindex(channels, kernel_h, kernel_w):
            in_y, in_x = y * down + tap_y - top, x * right + tap_x - left
            if 0 <= in_y < height and 0 <= in_x < width and steps[c, in_y, in_x] >= 0:
                arriving.append(int(steps[c, in_y, in_x]))
                weights.append(float(weight[out, c, tap_y, tap_x]))
                values.append(1.0 if currents is None else float(currents[c, in_y, in_x]))
        charge = 0.0 if initial is None else float(initial[out])
        of_time = {"window": window, "t_win": t_win, "psp_slope": psp_slope, "initial": charge}
        found.append(neuron(arriving, weights, currents=values, **of_time))
    return found


def pooling(steps: np.ndarray, spec: LayerSpec, *, window: int) -> np.ndarray:
    """(C, H, W): of each place the first spike that arrives, step by step."""
    channels, height, width = steps.shape
    (kernel_h, kernel_w), (down, right) = spec.kernel, spec.stride
    rows, columns = (height - kernel_h) // down + 1, (width - kernel_w) // right + 1
    pooled = np.full((channels, rows, columns), -1)
    for now in range(window + 1):
        for c, y, x in np.ndindex(channels, rows, columns):
            covered = steps[c, y * down : y * down + kernel_h, x * right : x * right + kernel_w]
            if pooled[c, y, x] == -1 and (covered == now).any():
                pooled[c, y, x] = now
    return pooled
