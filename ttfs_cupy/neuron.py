"""How a neuron turns its drive A and weight sum S into an output, and the derivatives (SPEC, "A spiking layer").

Arrays are flat in the kernels' eyes: any shape, float32, C-contiguous, all of one size.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ttfs_cupy.device import Array, Device
from ttfs_cupy.errors import UserError

CLIP_MODES = ("gain", "separate", "none")


class PspSlope:
    """psp_slope: 1 is Wei's ReL-PSP neuron, 0 a neuron of constant slope at the threshold.

    The kernels read it from device memory; the host's copy decides whether the mask's products are needed at all.
    """

    def __init__(self, device: Device, value: float):
        self._device = device
        self._value = 0.0
        self.array = device.to_device(np.zeros(1, np.float32))
        self.value = value

    @property
    def value(self) -> float:
        return self._value

    @value.setter
    def value(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise UserError(f"psp_slope must lie in [0, 1], not {value}")
        if value != self._value:
            self._value = float(value)
            self._device.launch("fill", 1, self.array, self._value, 1)


class Neuron(Protocol):
    """A rule from (A, S) to an output, with its derivatives. Where needs_weight_sum is False, S is None throughout.

    fires: whether its output is earliness; else it is membrane potentials.
    """

    @property
    def slope(self) -> PspSlope: ...
    @property
    def fires(self) -> bool: ...
    @property
    def needs_weight_sum(self) -> bool: ...

    @property
    def rule(self) -> tuple[Array, float, float]:
        """What kernels that apply it take: psp_slope, scale (of the drive), t_win."""

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        """What kernels that carry gradients back take: the rule, grad_clip, and `separate` or not."""

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        """Writes earliness, or for a readout membrane potentials, to out."""

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        """From grad = dLoss/d(output): grad_drive = dLoss/dA, and unless it is None grad_sum = dLoss/dS."""


@dataclass(frozen=True)
class SpikingNeuron:
    """Fires at most once, when V(u) = A + psp_slope S u reaches the threshold T - u (Wei et al., ICCV 2023).

    scale multiplies the drive.
    """

    device: Device
    t_win: float
    slope: PspSlope
    clip: str = "gain"
    grad_clip: float = 1.0
    scale: float = 1.0
    fires = True

    @property
    def needs_weight_sum(self) -> bool:
        return self.slope.value != 0

    @property
    def rule(self) -> tuple[Array, float, float]:
        return self.slope.array, self.scale, self.t_win

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        most = math.inf if self.clip == "none" else self.grad_clip
        return *self.rule, most, int(self.clip == "separate")

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        self.device.launch("fire", out.size, drive, weight_sum, *self.rule, out, out.size)

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        inputs = (grad, output, weight_sum, *self.derivative)
        self.device.launch("spike_gradient", grad.size, *inputs, grad_drive, grad_sum, grad.size)


def coding_neuron(device: Device, t_win: float) -> SpikingNeuron:
    """The first layer of direct encoding: x = clip(T A, 0, T) on the real-valued image (Wei et al., ICCV 2023)."""
    return SpikingNeuron(device, t_win, PspSlope(device, 0.0), clip="none", scale=t_win)


@dataclass(frozen=True)
class PotentialReadout:
    """Does not fire: its output is M = A + psp_slope T S, the membrane potential at the end of its window."""

    device: Device
    t_win: float
    slope: PspSlope
    fires = False

    @property
    def needs_weight_sum(self) -> bool:
        return self.slope.value != 0

    @property
    def rule(self) -> tuple[Array, float, float]:
        return self.slope.array, 1.0, self.t_win

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        return *self.rule, math.inf, 0

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        self.device.launch("potential", out.size, drive, weight_sum, self.slope.array, self.t_win, out, out.size)

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        slope = self.slope.array
        self.device.launch("potential_gradient", grad.size, grad, slope, self.t_win, grad_drive, grad_sum, grad.size)
