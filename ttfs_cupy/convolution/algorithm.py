"""What an algorithm of convolution must offer. Which there are, registry.py finds; choice.py chooses among them."""

from typing import Literal, Protocol

from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device import Array, Device
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.neuron import Neuron

Pass = Literal["forward", "data_gradient", "weight_gradient"]
PASSES: tuple[Pass, ...] = ("forward", "data_gradient", "weight_gradient")

# How exactly products are computed, from most to least. split: forward by tensor cores with operands split in two,
# which is nearly float32, backward in TF32. tf32: all of it with TF32's 11 significant bits.
Precision = Literal["float32", "split", "tf32"]
FLOAT32: Precision = "float32"
SPLIT: Precision = "split"
TF32: Precision = "tf32"
PRECISIONS = (FLOAT32, SPLIT, TF32)

# Between an algorithm's name and the number of a variant, as in tensorcore:2
VARIANT = ":"


class Algorithm(Protocol):
    """One way to convolve. Arrays: images NHWC, weights (kernel_h, kernel_w, in, out), float32, C-contiguous.

    joins_pooling: whether it can pool 2x2 windows as neurons fire, and carry gradients back through both.
    connects: whether it is taken for full connections, too. precision: what it computes in.
    rank: which is taken where nobody has timed them, the largest that fits.
    tolerance: how far from `gemm` a pass of it may be, as the norm of the difference over the norm, on a layer's drive,
    weight sum and gradients; the tuner drops one that is further.
    """

    name: str  # of one of its variants, with a number
    joins_pooling: bool
    connects: bool
    precision: Precision
    rank: int
    tolerance: dict[Pass, float]

    def __init__(self, device: Device, shape: ConvolutionShape): ...

    @classmethod
    def fits(cls, shape: ConvolutionShape, device: Device) -> str | None:
        """Why it cannot do that convolution on that device, or None if it can."""

    @classmethod
    def suits(cls, shape: ConvolutionShape) -> bool:
        """Whether it is likely to be fast, where nobody has timed it."""

    def variants(self, which: Pass) -> "dict[int, Algorithm]":
        """The ways to cut a pass into blocks that it can be told to take, by number; none where it has but one."""

    def kernels(
        self, which: Pass, batch_size: int, neuron: Neuron, *, has_weight_sum: bool, pooled: bool
    ) -> list[Variant]:
        """Every variant of a cooperative kernel that such a pass may launch, or weighs before it chooses.

        has_weight_sum: what neuron.needs_weight_sum will be; pooled: with pooling joined to it.
        """

    def workspace(self, batch_size: int, which: Pass) -> int:
        """How many float32 values of scratch memory a pass needs for that batch."""

    def forward(self, images: Array, weights: Array, neuron: Neuron, out: Activations, workspace: Array) -> None:
        """Writes out.output, S unless out.weight_sum is None, and, pooled, out.winner."""

    def data_gradient(self, outgoing: OutgoingGradient, weights: Array, grad_images: Array, workspace: Array) -> None:
        """Writes dLoss/d(images), NHWC; what it holds for silent inputs has no meaning (their layer masks it)."""

    def weight_gradient(self, images: Array, outgoing: OutgoingGradient, grad_weights: Array, workspace: Array) -> None:
        """Writes dLoss/d(weights)."""
