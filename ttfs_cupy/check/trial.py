"""A layer's three passes on random numbers, by any algorithm, for comparisons; what they read is always the same."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ttfs_cupy.convolution.algorithm import Algorithm, Pass
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

SILENT = 255


@dataclass(frozen=True)
class Trial:
    """pooled: with 2x2 pooling joined to the layer, by algorithms that can."""

    device: Device
    shape: ConvolutionShape
    images: int
    psp_slope: float
    pooled: bool

    @cached_property
    def neuron(self) -> SpikingNeuron:
        """With initial potentials where there is no weight sum: what is compared then is the earliness."""
        potential = None if self.psp_slope else self.device.to_device(self.potential)
        return SpikingNeuron(self.device, 1.0, PspSlope(self.device, self.psp_slope), potential=potential)

    @cached_property
    def potential(self) -> np.ndarray:
        return np.random.default_rng(4).normal(0, 0.3, self.shape.out_channels).astype(np.float32)

    @cached_property
    def inputs(self) -> np.ndarray:
        """Earliness, half of it silence."""
        draw = np.random.default_rng(0)
        x = draw.random((self.images, *self.shape.in_size, self.shape.in_channels), np.float32)
        return np.where(draw.random(x.shape) < 0.5, np.float32(0), x)

    @cached_property
    def weights(self) -> np.ndarray:
        size = (*self.shape.kernel, self.shape.in_channels, self.shape.out_channels)
        spread = np.float32(np.sqrt(2 / self.shape.patch_size))
        return spread * np.random.default_rng(1).standard_normal(size, np.float32)

    def out_shape(self, *, pooled: bool) -> tuple[int, int, int, int]:
        height, width = (size // 2 if pooled else size for size in self.shape.out_size)
        return self.images, height, width, self.shape.out_channels

    @cached_property
    def spikes(self) -> Activations:
        """What a forward pass might have left, on the host."""
        draw, size = np.random.default_rng(2), self.out_shape(pooled=self.pooled)
        x = np.where(draw.random(size) < 0.4, np.float32(0), draw.random(size, np.float32))
        winner = np.where(x > 0, draw.integers(0, 4, size), SILENT).astype(np.uint8) if self.pooled else None
        return Activations(x, draw.random(size, np.float32), winner)

    @cached_property
    def gradient(self) -> np.ndarray:
        """dLoss/d(output)."""
        return np.random.default_rng(3).standard_normal(self.out_shape(pooled=self.pooled), np.float32)

    def forward(self, algorithm: Algorithm, *, pooled: bool, times: int = 1) -> list[Activations]:
        """What it leaves, `times` times, on the host."""
        device, xp, size = self.device, self.device.xp, self.out_shape(pooled=pooled)
        has_weight_sum = self.neuron.needs_weight_sum
        images, weights = device.to_device(self.inputs), device.to_device(self.weights)
        found = []
        for _ in range(times):
            out = Activations(
                xp.full(size, np.nan, np.float32),
                xp.full(size, np.nan, np.float32) if has_weight_sum else None,
                xp.full(size, 99, np.uint8) if pooled else None,
            )
            algorithm.forward(images, weights, self.neuron, out, self._workspace(algorithm, "forward"))
            device.synchronize()
            arrays = (out.output, out.weight_sum, out.winner)
            found.append(Activations(*(None if array is None else device.to_host(array).copy() for array in arrays)))
        return found

    def backward(self, algorithm: Algorithm, which: Pass, *, pooled: bool, times: int = 1) -> list[np.ndarray]:
        """The gradient of the inputs, where they spiked, or of the weights. Of pooling not joined to the algorithm,
        gradients go to the windows' winners before."""
        device, xp = self.device, self.device.xp
        arrays = [self.gradient, self.spikes.output, self.spikes.weight_sum]
        if self.pooled and not pooled:
            arrays = [self._unpooled(array) for array in arrays]
        grad, x, weight_sum = (device.to_device(array) for array in arrays)
        winner = device.to_device(self.spikes.winner) if pooled else None
        out = Activations(x, weight_sum if self.neuron.needs_weight_sum else None, winner)
        outgoing = OutgoingGradient(self.neuron, grad, out)
        images, weights = device.to_device(self.inputs), device.to_device(self.weights)
        found = []
        for _ in range(times):
            target = xp.full(images.shape if which == "data_gradient" else weights.shape, np.nan, np.float32)
            workspace = self._workspace(algorithm, which)
            if which == "data_gradient":
                algorithm.data_gradient(outgoing, weights, target, workspace)
            else:
                algorithm.weight_gradient(images, outgoing, target, workspace)
            device.synchronize()
            result = device.to_host(target).copy()
            # a gradient of a silent input has no meaning
            found.append(np.where(self.inputs != 0, result, np.float32(0)) if which == "data_gradient" else result)
        return found

    def _workspace(self, algorithm: Algorithm, which: Pass) -> Array:
        return self.device.xp.full(algorithm.workspace(self.images, which), np.nan, np.float32)

    def windows(self, array: Array) -> np.ndarray:
        """(N, height, width, C) to (N, height // 2, width // 2, C, places)."""
        images, height, width, channels = self.out_shape(pooled=True)
        whole = array[:, : 2 * height, : 2 * width].reshape(images, height, 2, width, 2, channels)
        return whole.transpose(0, 1, 3, 5, 2, 4).reshape(images, height, width, channels, 4)

    def _unpooled(self, of_windows: Array) -> np.ndarray:
        _, height, width, _ = self.out_shape(pooled=True)
        full = np.zeros(self.out_shape(pooled=False), np.float32)
        for place in range(4):
            target = full[:, place // 2 : 2 * height : 2, place % 2 : 2 * width : 2]
            target[...] = np.where(self.spikes.winner == place, of_windows, 0)
        return full
