"""The spike-time rule: when a neuron fires, in closed form, and the derivatives (docs/model.md, "A spiking layer").

The arithmetic itself is in kernels/neuron.h; what is here launches it.
"""

import math
from dataclasses import dataclass, field, replace

from ttfs_cupy.common.checks import LARGEST
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron.psp_slope import PspSlope

CLIP_MODES = ("gain", "separate", "none")

# From and to. Times scale with the window, and gradients with it or against it: in these bounds neither they nor their
# squares leave float32, and Adam's usual eps does not outweigh them.
WINDOWS = (1e-6, 1e6)
# A gain of less in each layer, and no gradient reaches the first one.
GAIN_BOUNDS = (1e-6, LARGEST)


@dataclass(frozen=True)
class SpikingNeuron:
    """Fires at most once, when V(u) = A + psp_slope S u reaches the threshold T - u (Wei et al., ICCV 2023).

    As earliness x = T - u: T if A >= T; else (A + psp_slope T S) / (1 + psp_slope S), where both are positive; else 0.

    scale multiplies the drive. With an initial potential b, A is larger by T b.
    """

    device: Device
    t_win: float
    psp_slope: PspSlope
    clip: str = "gain"
    grad_clip: float = 1.0
    scale: float = 1.0
    potential: Array | None = field(default=None, compare=False)
    fires = True

    def with_potential(self, potential: Array | None) -> "SpikingNeuron":
        return replace(self, potential=potential)

    @property
    def needs_weight_sum(self) -> bool:
        return self.psp_slope.value != 0

    @property
    def rule(self) -> tuple[Array, float, float, Array | None]:
        return self.psp_slope.array, self.scale, self.t_win, self.potential

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        most = math.inf if self.clip == "none" else self.grad_clip
        return *self.rule[:3], most, int(self.clip == "separate")

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        self.device.launch("fire", out.size, drive, weight_sum, *self.rule, out, out.shape[-1], out.size)

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        inputs = (grad, output, weight_sum, *self.derivative)
        self.device.launch("spike_gradient", grad.size, *inputs, grad_drive, grad_sum, grad.size)


def coding_neuron(device: Device, t_win: float) -> SpikingNeuron:
    """The first layer of direct encoding: x = clip(T A, 0, T) on the real-valued image (Wei et al., ICCV 2023)."""
    return SpikingNeuron(device, t_win, PspSlope(device, 0.0), clip="none", scale=t_win)
