"""What every kind of neuron says of itself: from its drive A and weight sum S to an output, and back.

Arrays are flat in the kernels' eyes: any shape, float32, C-contiguous, all of one size.
"""

from typing import Protocol

from ttfs_cupy.device import Array
from ttfs_cupy.neuron.psp_slope import PspSlope


class Neuron(Protocol):
    """A rule from (A, S) to an output, with its derivatives. Where needs_weight_sum is False, S is None throughout.

    fires: whether its output is earliness; else it is membrane potentials.
    """

    @property
    def psp_slope(self) -> PspSlope: ...
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
