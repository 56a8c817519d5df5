"""What every kind of neuron says of itself: from its drive A and weight sum S to an output, and back.

Arrays are flat in the kernels' eyes: any shape, float32, C-contiguous, all of one size.
"""

from typing import Protocol

from ttfs_cupy.device import Array
from ttfs_cupy.neuron.psp_slope import PspSlope


class Neuron(Protocol):
    """A rule from (A, S) to an output, with its derivatives. Where needs_weight_sum is False, S is None throughout.

    fires: whether its output is earliness; else it is membrane potentials. potential: float32 (channels,), what the
    neurons of each channel begin with, as a share of the threshold T; None is 0.
    """

    @property
    def psp_slope(self) -> PspSlope: ...
    @property
    def fires(self) -> bool: ...
    @property
    def needs_weight_sum(self) -> bool: ...

    @property
    def potential(self) -> Array | None: ...

    def with_potential(self, potential: Array | None) -> "Neuron":
        """The same neuron, which begins with this potential."""

    @property
    def rule(self) -> tuple[Array, float, float, Array | None]:
        """What kernels that apply it take: psp_slope, scale (of the drive), t_win, potential."""

    @property
    def derivative(self) -> tuple[Array, float, float, float, int]:
        """What kernels that carry gradients back take: psp_slope, scale, t_win, grad_clip, and `separate` or not."""

    def output(self, drive: Array, weight_sum: Array | None, out: Array) -> None:
        """Writes earliness, or for a readout membrane potentials, to out. Its last axis is that of the channels."""

    def gradient(
        self, grad: Array, output: Array, weight_sum: Array | None, grad_drive: Array, grad_sum: Array | None
    ) -> None:
        """From grad = dLoss/d(output): grad_drive = dLoss/dA, and unless it is None grad_sum = dLoss/dS."""
