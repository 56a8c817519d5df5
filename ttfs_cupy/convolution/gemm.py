"""Convolution as a matrix product: patches (im2col) x weights. Any kernel, stride and padding.

The patch matrix is made and used in chunks of rows, so the workspace stays bounded; a chunk holds the patches of the
earliness and, below them, those of the mask, so that A and S come from one product with the same weights.

Chunks are tasks for the device's workers. How the rows are cut depends on the shapes alone, never on the number of
workers, and so do the bits of the result.
"""

from dataclasses import dataclass

from ttfs_cupy.convolution.scratch import Scratch, part_range, parts
from ttfs_cupy.convolution.shape import ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import Neuron

# Below about this many rows, packing the weights for a product costs as much as a tenth of the product.
FEWEST_ROWS = 256
MOST_ROWS = 1 << 16


@dataclass(frozen=True)
class Gemm:
    device: Device
    shape: ConvolutionShape
    name: str = "gemm"

    def workspace(self, batch: int, training: bool) -> int:
        """How many float32 values of scratch memory the passes need for that batch (see Algorithm)."""
        needs = [self._forward_workspace(batch)]
        if training:
            needs.append(self._weight_gradient_workspace(batch))
            needs.append(self._data_gradient_workspace(batch))
        return max(needs)

    # Forward

    def forward(
        self,
        images: Array,
        weights: Array,
        neuron: Neuron,
        output: Array,
        weight_sum: Array | None,
        workspace: Array,
    ) -> None:
        """S and A of a chunk by one product, then the neurons' rule while both are in cache."""
        shape, rows = self.shape, output.shape[0]
        chunk_rows = self._chunk_rows(shape.patch_size)
        matrix = weights.reshape(shape.patch_size, shape.out_channels)
        per_worker = self._chunk_workspace(rows)
        halves = 2 if neuron.needs_weight_sum else 1

        def chunk(task: int, worker: int) -> None:
            first, last = part_range(task, chunk_rows, rows)
            scratch = Scratch(workspace, worker * per_worker)
            count = last - first
            patches = scratch.array(halves * count, shape.patch_size)
            products = scratch.array(halves * count, shape.out_channels)
            self._gather(images, patches, first, count, with_mask=halves == 2)
            self.device.matmul(patches, matrix, out=products)
            drive, sums = products[:count], products[count:] if halves == 2 else None
            neuron.output(drive, sums, output[first:last])
            if weight_sum is not None:
                weight_sum[first:last] = sums

        self.device.parallel(parts(rows, chunk_rows), chunk)

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
        grad_rows = grad_images.reshape(-1, shape.in_channels)
        rows = grad_rows.shape[0]
        per_worker = min(chunk_rows, rows) * patch_size

        def chunk(task: int, worker: int) -> None:
            first, last = part_range(task, chunk_rows, rows)
            patches = Scratch(workspace, scratch.used + worker * per_worker).array(last - first, patch_size)
            device.launch(
                "gather_output_gradients",
                patches.size,
                *(
                    grad_drive,
                    patches,
                    first,
                    last - first,
                    *shape.in_size,
                    shape.out_channels,
                    *shape.out_size,
                ),
                *(*shape.kernel, *shape.stride, *shape.padding),
            )
            device.matmul(patches, transposed, out=grad_rows[first:last])

        device.parallel(parts(rows, chunk_rows), chunk)

    # Weight gradient

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Patches transposed x (dLoss/dA above dLoss/dS), chunk by chunk; groups of chunks are summed in order."""
        shape, device, rows = self.shape, self.device, outgoing.rows
        chunk_rows, group_rows = self._chunk_rows(shape.patch_size), self._group_rows(rows)
        groups = parts(rows, group_rows)
        halves = 2 if outgoing.neuron.needs_weight_sum else 1
        scratch = Scratch(workspace)
        sums = scratch.array(groups, shape.weights)
        per_worker = self._chunk_workspace(rows) + shape.weights

        def group(task: int, worker: int) -> None:
            group_first, group_last = part_range(task, group_rows, rows)
            group_sum = sums[task].reshape(shape.patch_size, shape.out_channels)
            for first in range(group_first, group_last, chunk_rows):
                count = min(chunk_rows, group_last - first)
                local = Scratch(workspace, scratch.used + worker * per_worker)
                patches = local.array(halves * count, shape.patch_size)
                grads = local.array(halves * count, shape.out_channels)
                self._gather(images, patches, first, count, with_mask=halves == 2)
                outgoing.to_drive(grads[:count], grads[count:] if halves == 2 else None, first, first + count)
                if first == group_first:
                    device.matmul(patches.T, grads, out=group_sum)
                else:
                    term = local.array(shape.patch_size, shape.out_channels)
                    device.matmul(patches.T, grads, out=term)
                    device.launch("add", term.size, group_sum, term, term.size)

        device.parallel(groups, group)
        device.launch("sum_parts", shape.weights, sums, grad_weights, groups, shape.weights)

    def _gather(self, images: Array, patches: Array, first: int, rows: int, *, with_mask: bool) -> None:
        shape = self.shape
        self.device.launch(
            "gather_patches",
            rows * shape.patch_size,
            *(
                images,
                patches,
                first,
                rows,
                int(with_mask),
                *shape.in_size,
                shape.in_channels,
                *shape.out_size,
            ),
            *(*shape.kernel, *shape.stride, *shape.padding),
        )

    # How the work is cut, and the memory that this takes

    def _chunk_rows(self, patch_size: int) -> int:
        return min(max(self.device.patch_bytes // (8 * patch_size), FEWEST_ROWS), MOST_ROWS)

    @property
    def _most_groups(self) -> int:
        """Partial sums of the weight gradient, each of the weights' size: many small ones, or four large ones."""
        return min(max((1 << 22) // self.shape.weights, 4), 16)

    def _group_rows(self, rows: int) -> int:
        return max(parts(rows, self._most_groups), FEWEST_ROWS)

    def _chunk_workspace(self, rows: int) -> int:
        chunk_rows = min(self._chunk_rows(self.shape.patch_size), rows)
        return 2 * chunk_rows * (self.shape.patch_size + self.shape.out_channels)

    def _forward_workspace(self, batch: int) -> int:
        return self.device.workers * self._chunk_workspace(batch * self.shape.out_pixels)

    def _weight_gradient_workspace(self, batch: int) -> int:
        rows = batch * self.shape.out_pixels
        groups = min(self._most_groups, parts(rows, FEWEST_ROWS))
        return groups * self.shape.weights + self.device.workers * (self._chunk_workspace(rows) + self.shape.weights)

    def _data_gradient_workspace(self, batch: int) -> int:
        shape = self.shape
        patch_size = shape.taps * shape.out_channels
        patches = min(self._chunk_rows(patch_size), batch * shape.in_pixels) * patch_size
        return batch * shape.out_pixels * shape.out_channels + shape.weights + self.device.workers * patches
