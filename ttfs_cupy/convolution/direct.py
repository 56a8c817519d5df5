"""Convolution written out, for patches of few values: a first layer of one or three channels.

Any kernel, stride and padding. The data gradient, which a first layer never needs, is left to `gemm`.
"""

from dataclasses import dataclass

from ttfs_cupy.convolution.algorithm import FLOAT32, PASSES, Algorithm, Pass
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.scratch import Scratch
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient, rows
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.parts import parts
from ttfs_cupy.neuron import Neuron, SpikingNeuron

# As in kernels/direct.cu
MOST_PATCH_VALUES = 64

# Above it a matrix product is faster than the loop written out, and below it a patch matrix costs more than it saves.
MOST_SUITABLE_PATCH_VALUES = 32

# Rows per partial sum of the weight gradient; fixed, so that the bits do not depend on the workers.
GROUP_ROWS = 512


@dataclass(frozen=True)
class Direct:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    name = "direct"
    joins_pooling = False
    connects = False
    precision = FLOAT32
    rank = 4
    tolerance = dict.fromkeys(PASSES, 1e-5)

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        if shape.patch_size > MOST_PATCH_VALUES:
            return f"direct convolution is for patches of up to {MOST_PATCH_VALUES} values, not {shape.patch_size}"
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return shape.patch_size <= MOST_SUITABLE_PATCH_VALUES

    def variants(self, which: Pass) -> dict[int, Algorithm]:
        return {}

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        return []

    def workspace(self, batch_size: int, which: Pass) -> int:
        if which == "data_gradient":
            return Gemm(self.device, self.shape).workspace(batch_size, which)
        groups = parts(batch_size * self.shape.out_pixels, GROUP_ROWS)
        return groups * self.shape.weights if which == "weight_gradient" else 0

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a pixel's neurons, then their rule while both are in registers."""
        assert isinstance(neuron, SpikingNeuron)
        output = rows(out.output)
        arguments = (images, weights, *neuron.rule, int(neuron.needs_weight_sum), out.output, out.weight_sum)
        self.device.launch(
            "direct_fire", output.size, *arguments, *output.shape, *self._sizes, each=self.shape.patch_size
        )

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """As gemm does it."""
        Gemm(self.device, self.shape).data_gradient(outgoing, weights, grad_images, workspace)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Row by row into the partial sum of its group; the groups are then added in order."""
        assert isinstance(outgoing.neuron, SpikingNeuron)
        count, channels, size = outgoing.rows, self.shape.out_channels, self.shape.weights
        groups = parts(count, GROUP_ROWS)
        sums = Scratch(workspace).array(groups, size)
        arguments = (images, outgoing.grad, outgoing.out.output, outgoing.out.weight_sum, *outgoing.neuron.derivative)
        cut = (sums, groups, GROUP_ROWS, count, channels)
        self.device.launch(
            "direct_weight_gradient", count * channels, *arguments, *cut, *self._sizes, each=self.shape.patch_size
        )
        self.device.launch("sum_parts", size, sums, grad_weights, groups, size)

    @property
    def _sizes(self) -> tuple[int, ...]:
        shape = self.shape
        return (
            *(*shape.in_size, shape.in_channels, *shape.out_size),
            *(*shape.kernel, *shape.stride, *shape.padding),
        )


ALGORITHM = Direct
