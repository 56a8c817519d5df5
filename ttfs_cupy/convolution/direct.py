"""Convolution written out, for patches of few values: a first layer of one or three channels.

Any kernel, stride and padding. The data gradient, which a first layer never needs, is left to `gemm`.
"""

from dataclasses import dataclass

from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.scratch import Scratch, part_range, parts
from ttfs_cupy.convolution.shape import ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import Neuron

# As in kernels/direct.cu
MOST_PATCH_VALUES = 64

# Rows per task and per partial sum of the weight gradient; fixed, so that the bits do not depend on the workers.
CHUNK_ROWS = 2048
GROUP_ROWS = 512


def fits(shape: ConvolutionShape) -> str | None:
    """Why this algorithm cannot do that convolution, or None if it can."""
    if shape.patch_size > MOST_PATCH_VALUES:
        return f"direct convolution is for patches of up to {MOST_PATCH_VALUES} values, not {shape.patch_size}"
    return None


@dataclass(frozen=True)
class Direct:
    """Like every Algorithm; raises nothing that `fits` would not have said."""

    device: Device
    shape: ConvolutionShape
    name: str = "direct"

    def workspace(self, batch: int, training: bool) -> int:
        """How many float32 values of scratch memory the passes need for that batch (see Algorithm)."""
        rows = batch * self.shape.out_pixels
        forward = self.device.workers * 2 * CHUNK_ROWS * self.shape.out_channels
        if not training:
            return forward
        backward = 2 * rows * self.shape.out_channels + parts(rows, GROUP_ROWS) * self.shape.weights
        return max(forward, backward, Gemm(self.device, self.shape).workspace(batch, training))

    def forward(
        self, images: Array, weights: Array, neuron: Neuron, output: Array, weight_sum: Array | None, workspace: Array
    ) -> None:
        """S and A of a chunk of rows, then the neurons' rule while both are in cache."""
        rows, channels = output.shape
        with_sum = neuron.needs_weight_sum

        def chunk(task: int, worker: int) -> None:
            first, last = part_range(task, CHUNK_ROWS, rows)
            local = Scratch(workspace, worker * 2 * CHUNK_ROWS * channels)
            drive, sums = local.array(last - first, channels), local.array(last - first, channels)
            arguments = (images, weights, drive, sums, int(with_sum), first, last - first, channels)
            self.device.launch("direct_forward", drive.size, *arguments, *self._sizes)
            neuron.output(drive, sums if with_sum else None, output[first:last])
            if weight_sum is not None:
                weight_sum[first:last] = sums

        self.device.parallel(parts(rows, CHUNK_ROWS), chunk)

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """As gemm does it."""
        Gemm(self.device, self.shape).data_gradient(outgoing, weights, grad_images, workspace)

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Row by row into the partial sum of its group; the groups are then added in order."""
        rows, channels, size = outgoing.rows, self.shape.out_channels, self.shape.weights
        with_sum = outgoing.neuron.needs_weight_sum
        groups = parts(rows, GROUP_ROWS)
        scratch = Scratch(workspace)
        to_drive, to_sum = scratch.array(rows, channels), scratch.array(rows, channels)
        sums = scratch.array(groups, size)
        outgoing.to_drive(to_drive, to_sum if with_sum else None)
        arguments = (images, to_drive, to_sum, int(with_sum), sums, groups, GROUP_ROWS, rows, channels)
        self.device.launch("direct_weight_gradient", rows * channels, *arguments, *self._sizes)
        self.device.launch("sum_parts", size, sums, grad_weights, groups, size)

    @property
    def _sizes(self) -> tuple[int, ...]:
        shape = self.shape
        return (
            *(*shape.in_size, shape.in_channels, *shape.out_size),
            *(*shape.kernel, *shape.stride, *shape.padding),
        )
