"""Convolution as a matrix product: patches (im2col) x weights. Any kernel, stride and padding.

The patch matrix is made and used in chunks of rows, so the workspace stays bounded; a chunk holds the patches of the
earliness and, below them, those of the mask, so that A and S come from one product with the same weights.

Chunks are tasks for the device's workers. How the rows are cut depends on the shapes alone, never on the number of
workers, and so do the bits of the result.
"""

from dataclasses import dataclass

from ttfs_cupy.convolution.algorithm import FLOAT32, PASSES, Algorithm, Pass
from ttfs_cupy.convolution.scratch import Scratch
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient, rows
from ttfs_cupy.device import Array, Device, Stack
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.parts import part_range, parts
from ttfs_cupy.neuron import Neuron

# Below about this many rows, reading the weights for a product costs as much as a tenth of the product.
FEWEST_ROWS = 256
MOST_ROWS = 1 << 16


@dataclass(frozen=True)
class Gemm:
    """Like every Algorithm, and the one that the others are measured by: it does any convolution."""

    device: Device
    shape: ConvolutionShape
    name = "gemm"
    joins_pooling = False
    connects = True
    precision = FLOAT32
    rank = 0
    tolerance = dict.fromkeys(PASSES, 0.0)

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        return None

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        return True

    def variants(self, which: Pass) -> dict[int, Algorithm]:
        return {}

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        return []

    def workspace(self, batch_size: int, which: Pass) -> int:
        shape = self.shape
        count = batch_size * shape.out_pixels
        if which == "forward":
            return self._of_workers(parts(count, self._chunk_rows(shape.patch_size)), self._chunk_workspace(count))
        if which == "weight_gradient":
            groups = min(self._most_groups, parts(count, FEWEST_ROWS))
            return groups * shape.weights + self._of_workers(groups, self._chunk_workspace(count))
        patch_size, in_rows = shape.taps * shape.out_channels, batch_size * shape.in_pixels
        chunk_rows = self._chunk_rows(patch_size)
        patches = self._of_workers(parts(in_rows, chunk_rows), min(chunk_rows, in_rows) * patch_size)
        return count * shape.out_channels + shape.weights + patches

    # Forward

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """S and A of a chunk by one product, then the neurons' rule while both are in cache."""
        shape, output = self.shape, rows(out.output)
        weight_sum = None if out.weight_sum is None else rows(out.weight_sum)
        chunk_rows = self._chunk_rows(shape.patch_size)
        matrix = Stack.of(weights.reshape(shape.patch_size, shape.out_channels))
        per_worker = self._chunk_workspace(len(output))
        halves = 2 if neuron.needs_weight_sum else 1

        def chunk(task: int, worker: int) -> None:
            first, last = part_range(task, chunk_rows, len(output))
            scratch = Scratch(workspace, worker * per_worker)
            count = last - first
            patches = scratch.array(halves * count, shape.patch_size)
            products = scratch.array(halves * count, shape.out_channels)
            self._gather(images, patches, first, count, with_mask=halves == 2)
            self.device.multiply(Stack.of(patches), matrix, Stack.of(products))
            drive, sums = products[:count], products[count:] if halves == 2 else None
            neuron.output(drive, sums, output[first:last])
            if weight_sum is not None:
                target = weight_sum[first:last]
                self.device.launch("copy", target.size, sums, target, target.size)

        self.device.parallel(parts(len(output), chunk_rows), chunk)

    # Data gradient

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """A product over the patches of dLoss/dA, each input gathering from the outputs that saw it."""
        shape, device = self.shape, self.device
        scratch = Scratch(workspace)
        grad_drive = scratch.array(outgoing.rows, shape.out_channels)
        outgoing.to_drive(grad_drive)
        transposed = scratch.array(shape.taps * shape.out_channels, shape.in_channels)
        sizes = (shape.taps, shape.in_channels, shape.out_channels)
        device.launch("transpose_weights", shape.weights, weights, transposed, *sizes)

        patch_size = shape.taps * shape.out_channels
        chunk_rows = self._chunk_rows(patch_size)
        grad_rows = rows(grad_images)
        count = len(grad_rows)
        per_worker = min(chunk_rows, count) * patch_size

        def chunk(task: int, worker: int) -> None:
            first, last = part_range(task, chunk_rows, count)
            patches = Scratch(workspace, scratch.used + worker * per_worker).array(last - first, patch_size)
            device.launch(
                "gather_output_gradients",
                patches.size,
                *(grad_drive, patches, first, last - first),
                *(*shape.in_size, shape.out_channels, *shape.out_size),
                *(*shape.kernel, *shape.stride, *shape.padding),
            )
            device.multiply(Stack.of(patches), Stack.of(transposed), Stack.of(grad_rows[first:last]))

        device.parallel(parts(count, chunk_rows), chunk)

    # Weight gradient

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Patches transposed x (dLoss/dA above dLoss/dS), chunk by chunk; groups of chunks are summed in order."""
        shape, device, all_rows = self.shape, self.device, outgoing.rows
        chunk_rows, group_rows = self._chunk_rows(shape.patch_size), self._group_rows(all_rows)
        groups = parts(all_rows, group_rows)
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        sums = scratch.array(groups, shape.patch_size, shape.out_channels)
        per_worker = self._chunk_workspace(all_rows)

        def group(task: int, worker: int) -> None:
            group_first, group_last = part_range(task, group_rows, all_rows)
            for first in range(group_first, group_last, chunk_rows):
                count = min(chunk_rows, group_last - first)
                local = Scratch(workspace, scratch.used + worker * per_worker)
                patches = local.array(halves * count, shape.patch_size)
                grads = local.array(halves * count, shape.out_channels)
                self._gather(images, patches, first, count, with_mask=halves == 2)
                outgoing.to_drive(grads[:count], grads[count:] if halves == 2 else None, first, first + count)
                stacks = (Stack.of(patches), Stack.of(grads), Stack.of(sums[task]))
                device.multiply(*stacks, transposed=True, add=first > group_first)

        device.parallel(groups, group)
        device.launch("sum_parts", shape.weights, sums, grad_weights, groups, shape.weights)

    def _gather(self, images: Array, patches: Array, first: int, count: int, *, with_mask: bool) -> None:
        shape = self.shape
        self.device.launch(
            "gather_patches",
            count * shape.patch_size,
            *(images, patches, first, count, int(with_mask)),
            *(*shape.in_size, shape.in_channels, *shape.out_size),
            *(*shape.kernel, *shape.stride, *shape.padding),
        )

    # How the work is cut, and the memory that this takes

    def _chunk_rows(self, patch_size: int) -> int:
        return min(max(self.device.patch_bytes // (8 * patch_size), FEWEST_ROWS), MOST_ROWS)

    @property
    def _most_groups(self) -> int:
        """Partial sums of the weight gradient, each of the weights' size: many small ones, or four large ones."""
        return min(max((1 << 22) // self.shape.weights, 4), 16)

    def _group_rows(self, count: int) -> int:
        return max(parts(count, self._most_groups), FEWEST_ROWS)

    def _of_workers(self, tasks: int, each: int) -> int:
        """Scratch memory of all workers that get one of the tasks."""
        return min(tasks, self.device.workers) * each

    def _chunk_workspace(self, count: int) -> int:
        chunk_rows = min(self._chunk_rows(self.shape.patch_size), count)
        return 2 * chunk_rows * (self.shape.patch_size + self.shape.out_channels)


ALGORITHM = Gemm
