"""How long a training step takes PyTorch: cuDNN's convolutions and every element-wise pass (operations.py)."""

from collections.abc import Sequence
from dataclasses import dataclass

from ttfs_cupy.benchmarks.gpu_model import operations as gpu_operations
from ttfs_cupy.benchmarks.gpu_model.assumptions import FFMA, TF32, Assumptions, Gpu
from ttfs_cupy.benchmarks.gpu_model.operations import Placed
from ttfs_cupy.benchmarks.gpu_model.ours import LayerShape


@dataclass(frozen=True)
class PeerStep:
    """A step, in microseconds: of the GPU in convolutions and in the other operations, and of the host.

    number: what convolutions multiply in, TF32 or float32. kernels: launches.
    """

    side: str
    number: str
    convolutions: float
    others: float
    host: float
    operations: int
    kernels: int
    bytes: int

    @property
    def time(self) -> float:
        """The host works ahead of the GPU, unless it is slower."""
        return max(self.convolutions + self.others, self.host)


def step(
    layers: Sequence[LayerShape], side: str, batch_size: int, gpu: Gpu, given: Assumptions, *, allow_tf32: bool = True
) -> PeerStep:
    """side: eager, which is T2FSNN's way, or ann. allow_tf32: PyTorch's default for convolutions."""
    number = TF32 if allow_tf32 and gpu.tf32 else FFMA
    convolutions = others = 0.0
    operations = kernels = handled = 0
    for placed in gpu_operations.step(layers, side):
        if placed.operation.convolution:
            convolutions += _convolution(placed, batch_size, gpu, given, number)
        else:
            size = placed.count(batch_size) * (placed.operation.read + placed.operation.written)
            in_cache = size <= given.l2_share * gpu.l2_bytes
            bandwidth = gpu.l2 if in_cache else gpu.memory * given.memory_share
            others += max(size / bandwidth / 1e3, given.shortest_kernel * placed.operation.kernels)
            handled += size
        operations += 1
        kernels += placed.operation.kernels
    return PeerStep(
        side, number, convolutions, others, operations * given.eager_operation, operations, kernels, handled
    )


def _convolution(placed: Placed, batch_size: int, gpu: Gpu, given: Assumptions, number: str) -> float:
    """Microseconds: its products, or each array once."""
    shape = placed.layer.shape
    share = given.cudnn_tf32_share if number == TF32 else given.cudnn_float32_share
    products = 2 * batch_size * shape.multiplications / (gpu.tflops(number) * share) / 1e6
    values = placed.layer.inputs(batch_size) + batch_size * shape.out_pixels * shape.out_channels + shape.weights
    return max(products, 4 * values / (gpu.memory * given.memory_share) / 1e3, given.shortest_kernel)
