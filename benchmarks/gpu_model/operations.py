"""PyTorch's sides, operation by operation, counted from eager_t2fsnn.py and ann.py; a test counts them as they run.

Elements are those of a layer's input, of its output or of its weights. Bytes are what an operation must read and write
for each of them: 4 for a float, 1 for a truth value, 8 for an index. Views are no operations.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ttfs_cupy.benchmarks.gpu_model.ours import LayerShape

Elements = Literal["in", "out", "pooled", "weights", "logits"]


@dataclass(frozen=True)
class Operation:
    """name: PyTorch's. read, written: bytes of an element. convolution: which pass it is, if one; kernels: launches."""

    what: str
    name: str
    elements: Elements
    read: int = 4
    written: int = 4
    convolution: bool = False
    kernels: int = 1


def _convolution(what: str, name: str) -> Operation:
    return Operation(what, name, "out", convolution=True)


# eager_t2fsnn.Convolution.forward
SPIKING_FORWARD = (
    Operation("fired = times != inf", "ne", "in", 4, 1),
    Operation("fired as floats", "_to_copy", "in", 1, 4),
    _convolution("weight_sum", "convolution"),
    Operation("not fired", "bitwise_not", "in", 1, 1),
    # a copy, then the silent ones of it
    Operation("times of what fired", "masked_fill", "in", 9, 8, kernels=2),
    _convolution("weighted_times", "convolution"),
    Operation("end + I", "add", "out"),
    Operation("1 + S", "add", "out"),
    Operation("their quotient", "div", "out", 8, 4),
    Operation("times >= end", "ge", "out", 4, 1),
    Operation("silent there", "index_put_", "out", 5, 4),
    Operation("times < 0", "lt", "out", 4, 1),
    Operation("silent there", "index_put_", "out", 5, 4),
    Operation("T S", "mul", "out"),
    Operation("begin + I", "add", "out"),
    Operation("which is larger", "ge", "out", 8, 1),
    Operation("first there", "index_put_", "out", 5, 4),
    Operation("local times", "sub", "out"),
    Operation("times < 0", "lt", "out", 4, 1),
    Operation("silent there", "index_put_", "out", 5, 4),
)

# eager_t2fsnn.Convolution.backward
SPIKING_BACKWARD = (
    Operation("2 T + I", "add", "out"),
    Operation("negative", "neg", "out"),
    Operation("1 + S", "add", "out"),
    Operation("its square", "pow", "out"),
    Operation("their quotient", "div", "out", 8, 4),
    Operation("1 + S", "add", "out"),
    Operation("its inverse", "reciprocal", "out"),
    Operation("times 1", "mul", "out"),
    Operation("clipped", "clamp_", "out"),
    Operation("clipped", "clamp_", "out"),
    Operation("output < T", "lt", "out", 4, 1),
    Operation("output > 0", "gt", "out", 4, 1),
    Operation("both", "mul", "out", 2, 1),
    Operation("as floats", "_to_copy", "out", 1, 4),
    Operation("outgoing", "mul", "out", 8, 4),
    Operation("by times", "mul", "out", 8, 4),
    Operation("by sum", "mul", "out", 8, 4),
    _convolution("weight gradient of times", "convolution_backward"),
    Operation("fired as floats", "_to_copy", "in", 1, 4),
    _convolution("weight gradient of the mask", "convolution_backward"),
    Operation("their sum", "add", "weights", 8, 4),
)
SPIKING_DATA_GRADIENT = (_convolution("data gradient", "convolution_backward"),)

# eager_t2fsnn.MaxPool, elements of the convolution below it
SPIKING_POOL = (
    Operation("negative times", "neg", "out"),
    Operation("the largest, and its index", "max_pool2d_with_indices", "pooled", 16, 12),
    Operation("negative", "neg", "pooled"),
)
# zeros, then the gradients to their places
SPIKING_UNPOOL = (Operation("gradients to the winners", "max_unpool2d", "pooled", 12, 20, kernels=2),)

# eager_t2fsnn.Readout and the loss; products of matrices count with what they read, mostly the layer's input
SPIKING_READOUT = (
    Operation("fired = times != inf", "ne", "in", 4, 1),
    Operation("T - times", "rsub", "in"),
    Operation("not fired", "bitwise_not", "in", 1, 1),
    Operation("earliness of what fired", "masked_fill", "in", 9, 8, kernels=2),
    Operation("fired as floats", "_to_copy", "in", 1, 4),
    Operation("T m", "mul", "in"),
    Operation("contribution", "add", "in", 8, 4),
    Operation("fired as floats", "_to_copy", "in", 1, 4),
    Operation("weight_sum", "mm", "in", 4, 0),
    Operation("drive", "mm", "in", 4, 0),
    Operation("T S", "mul", "logits"),
    Operation("potentials", "add", "logits"),
)
SPIKING_LOSS = (
    Operation("log of the softmax", "_log_softmax", "logits"),
    Operation("loss", "nll_loss_forward", "logits"),
    Operation("softmax", "exp", "logits"),
    Operation("one_hot", "zeros", "logits"),
    Operation("one_hot", "scatter_", "logits"),
    Operation("errors", "sub", "logits"),
    Operation("mean", "div", "logits"),
)
SPIKING_READOUT_BACKWARD = (
    Operation("weight gradient", "mm", "in", 4, 0),
    Operation("data gradient", "mm", "in", 0, 4),
    Operation("negative", "neg", "in"),
    Operation("contribution > 0", "gt", "in", 4, 1),
    Operation("gradient of what fired", "mul", "in", 5, 4),
)

# ann.Ann: autograd's backward of each
ANN_FORWARD = (
    _convolution("convolution", "convolution"),
    # autograd keeps a copy of what hardtanh_ overwrites
    Operation("copy for backward", "clone", "out"),
    Operation("clipped", "hardtanh_", "out"),
)
ANN_BACKWARD = (
    Operation("gradient inside the clip", "hardtanh_backward", "out", 8, 4),
    _convolution("weight gradient", "convolution_backward"),
)
# the same operation gives both gradients, by a kernel each
ANN_DATA_GRADIENT = (_convolution("data gradient", ""),)
ANN_POOL = (Operation("the largest, and its index", "max_pool2d_with_indices", "pooled", 16, 12),)
ANN_UNPOOL = (Operation("gradients to the winners", "max_pool2d_with_indices_backward", "pooled", 12, 20, kernels=2),)
ANN_READOUT = (Operation("potentials", "mm", "in", 4, 0),)
ANN_LOSS = (
    Operation("log of the softmax", "_log_softmax", "logits"),
    Operation("loss", "nll_loss_forward", "logits"),
    Operation("seed of autograd", "ones_like", "logits", 0, 0),
    Operation("gradient of the loss", "nll_loss_backward", "logits"),
    Operation("gradient of the softmax", "_log_softmax_backward_data", "logits"),
)
ANN_READOUT_BACKWARD = (
    Operation("weight gradient", "mm", "in", 4, 0),
    Operation("data gradient", "mm", "in", 0, 4),
)

# torch.optim.Adam, fused: weights, gradients and two moments in, all but the gradients out
OPTIMIZER = (
    Operation("count of steps", "_foreach_add_", "logits", 0, 0),
    Operation("Adam", "_fused_adam_", "weights", 16, 12),
)


@dataclass(frozen=True)
class Placed:
    """An operation where it occurs in a step."""

    layer: LayerShape
    operation: Operation

    def count(self, batch_size: int) -> int:
        """Elements."""
        shape, per = self.layer.shape, self.operation.elements
        if per == "weights":
            return shape.weights
        sizes = {"in": shape.in_pixels * shape.in_channels, "out": shape.out_pixels * shape.out_channels}
        pooled = sizes["out"] // 4
        return batch_size * {**sizes, "pooled": pooled, "logits": shape.out_channels}[per]


def step(layers: Sequence[LayerShape], side: str) -> Iterator[Placed]:
    """Every operation of a training step of `eager` or `ann`."""
    spiking = side == "eager"
    forward, backward = (SPIKING_FORWARD, SPIKING_BACKWARD) if spiking else (ANN_FORWARD, ANN_BACKWARD)
    pool, unpool = (SPIKING_POOL, SPIKING_UNPOOL) if spiking else (ANN_POOL, ANN_UNPOOL)
    data_gradient = SPIKING_DATA_GRADIENT if spiking else ANN_DATA_GRADIENT
    *hidden, readout = layers
    for layer in hidden:
        yield from _placed(layer, forward, pool if layer.pooled else ())
    if spiking:
        yield from _placed(readout, SPIKING_READOUT, SPIKING_LOSS, SPIKING_READOUT_BACKWARD)
    else:
        yield from _placed(readout, ANN_READOUT, ANN_LOSS, ANN_READOUT_BACKWARD)
    for layer in reversed(hidden):
        yield from _placed(layer, unpool if layer.pooled else (), backward, () if layer.is_first else data_gradient)
    yield Placed(readout, OPTIMIZER[0])
    for layer in layers:
        yield Placed(layer, OPTIMIZER[1])


def _placed(layer: LayerShape, *groups: Sequence[Operation]) -> Iterator[Placed]:
    return (Placed(layer, operation) for group in groups for operation in group)


def counts(layers: Sequence[LayerShape], side: str) -> Counter[str]:
    """How often each operation of PyTorch is called in a step; Adam takes all weights at once."""
    found = Counter(placed.operation.name for placed in step(layers, side) if placed.operation.name)
    found["_fused_adam_"] = 1
    return found
