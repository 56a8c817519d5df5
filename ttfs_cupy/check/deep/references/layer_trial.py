"""A layer's arrays on the device, what its passes should make of them in float64, and what they do."""

from collections.abc import Callable

import numpy as np

from ttfs_cupy.benchmarks.passes import CONVOLUTIONS
from ttfs_cupy.check.deep.references.layers import Products
from ttfs_cupy.convolution.algorithm import Algorithm, Pass
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import PspSlope, SpikingNeuron


class LayerTrial:
    """On a whole batch of random images, at psp_slope 1, and forward at 0, too."""

    def __init__(self, device: Device, shape: ConvolutionShape, batch_size: int):
        self.device, self.shape, self.batch_size = device, shape, batch_size
        self.name = f"{shape.in_size[0]}x{shape.in_size[1]} {shape.in_channels}->{shape.out_channels}"
        draw = np.random.default_rng(0)
        inner, outer = (
            (batch_size, *shape.in_size, shape.in_channels),
            (batch_size, *shape.out_size, shape.out_channels),
        )
        weights = draw.standard_normal((*shape.kernel, inner[3], outer[3]), np.float32)
        self.images, self.output = (
            device.to_device(draw.random(size, np.float32) * (draw.random(size, np.float32) > 0.4))
            for size in (inner, outer)
        )
        self.weights = device.to_device(weights * np.float32(np.sqrt(2 / shape.patch_size)))
        self.grad = device.to_device(draw.standard_normal(outer, np.float32))
        self.weight_sum = device.to_device(draw.random(outer, np.float32))
        self.with_weight_sum, self.without_sum = (
            SpikingNeuron(device, 1.0, PspSlope(device, slope)) for slope in (1.0, 0.0)
        )

    def flop(self, which: Pass) -> float:
        return 2 * CONVOLUTIONS[which] * self.batch_size * self.shape.multiplications

    def wanted(self, which: Pass) -> list[Array]:
        """In float64: of forward the weight sum, and the earliness at psp_slope 0, on which no spike hangs."""
        xp, products = self.device.xp, Products(self.device.xp, self.shape)
        x, w = self.images.astype(np.float64), self.weights.astype(np.float64)
        mask = (x > 0).astype(np.float64)
        if which == "forward":
            return [products.forward(mask, w), xp.clip(products.forward(x, w), 0, 1)]
        y, total = self.output.astype(np.float64), self.weight_sum.astype(np.float64)
        # the neuron at psp_slope 1 and t_win 1 (docs/model.md), its gain bounded by 1; no weight sum here is negative
        by_drive = xp.where(y > 0, self.grad.astype(np.float64) / (1 + total), 0.0)
        if which == "data_gradient":
            return [products.data_gradient(by_drive, w) * mask]
        return [products.weight_gradient(x, by_drive) + products.weight_gradient(mask, by_drive * (1 - y))]

    def errors(self, algorithm: Algorithm, which: Pass, wanted: list[Array]) -> list[float]:
        """In the norm; infinite where something is not finite, or was not written."""
        found = []
        for neuron in (self.with_weight_sum, self.without_sum)[: len(wanted)]:
            body, written = self.body(algorithm, which, neuron)
            written[...] = np.nan
            body()
            self.device.synchronize()
            found.append(written)
        if which == "data_gradient":
            # of silent inputs the gradient has no meaning
            found = [self.device.xp.where(self.images > 0, one, 0) for one in found]
        return [self._relative(one, of) for one, of in zip(found, wanted, strict=True)]

    def _relative(self, actual: Array, wanted: Array) -> float:
        distance = float(((actual - wanted) ** 2).sum()) ** 0.5
        return distance / float((wanted**2).sum()) ** 0.5 if np.isfinite(distance) else float("inf")

    def body(self, algorithm: Algorithm, which: Pass, neuron: SpikingNeuron) -> tuple[Callable[[], None], Array]:
        """The pass, and the array that it writes."""
        xp = self.device.xp
        workspace = xp.empty(algorithm.workspace(self.batch_size, which), np.float32)
        has_weight_sum = neuron.needs_weight_sum
        if which == "forward":
            output, total = xp.empty_like(self.output), xp.empty_like(self.output) if has_weight_sum else None
            out = Activations(output, total)
            written = total if has_weight_sum else output
            return lambda: algorithm.forward(self.images, self.weights, neuron, out, workspace), written
        outgoing = OutgoingGradient(neuron, self.grad, Activations(self.output, self.weight_sum))
        target = xp.empty_like(self.images if which == "data_gradient" else self.weights)
        if which == "data_gradient":
            return lambda: algorithm.data_gradient(outgoing, self.weights, target, workspace), target
        return lambda: algorithm.weight_gradient(self.images, outgoing, target, workspace), target
