"""The readout that does not fire: its membrane potential as its window ends (docs/model.md, "Readout")."""

import math
from dataclasses import dataclass, field, replace

from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron.psp_slope import PspSlope


@dataclass(frozen=True)
class PotentialReadout:
    """Does not fire: its output is M = A + psp_slope T S, the membrane potential at the end of its window.

    With an initial potential, A is larger by T times that.
    """

    device: Device
    t_win: float
    psp_slope: PspSlope
    potential: Array | None = field(default=None, compare=False)
    fires = False

    def with_potential(self, potential: Array | None) -> "PotentialReadout":
        return replace(self, potential=potential)

    @property
    def needs_weight_sum(self) -> bool:
        return self.psp_slope.value != 0

    @property
    def rule(self) -> tuple[Array, float, float, Array | None]:
        return self.psp_slope.array, 1.0, self.t_win, self.potential

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        return *self.rule[:3], math.inf, 0

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        slope, _, *rule = self.rule
        self.device.launch("potential", out.size, drive, weight_sum, slope, *rule, out, out.shape[-1], out.size)

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        slope = self.psp_slope.array
        self.device.launch("potential_gradient", grad.size, grad, slope, self.t_win, grad_drive, grad_sum, grad.size)
