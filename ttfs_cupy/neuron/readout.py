"""The readout that does not fire: its membrane potential as its window ends (docs/model.md, "Readout")."""

import math
from dataclasses import dataclass

from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron.psp_slope import PspSlope


@dataclass(frozen=True)
class PotentialReadout:
    """Does not fire: its output is M = A + psp_slope T S, the membrane potential at the end of its window."""

    device: Device
    t_win: float
    psp_slope: PspSlope
    fires = False

    @property
    def needs_weight_sum(self) -> bool:
        return self.psp_slope.value != 0

    @property
    def rule(self) -> tuple[Array, float, float]:
        return self.psp_slope.array, 1.0, self.t_win

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        return *self.rule, math.inf, 0

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        self.device.launch("potential", out.size, drive, weight_sum, self.psp_slope.array, self.t_win, out, out.size)

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        slope = self.psp_slope.array
        self.device.launch("potential_gradient", grad.size, grad, slope, self.t_win, grad_drive, grad_sum, grad.size)
