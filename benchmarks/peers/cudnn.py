"""cuDNN's convolutions, through PyTorch, for scale. Imports torch; imported only where torch is installed."""

from collections.abc import Callable

import torch

from ttfs_cupy.benchmarks.measure import best_of
from ttfs_cupy.benchmarks.peers import pytorch
from ttfs_cupy.convolution.algorithm import Pass
from ttfs_cupy.convolution.shape import ConvolutionShape

IN_A_ROW = 20


def is_available() -> bool:
    return bool(torch.cuda.is_available() and torch.backends.cudnn.is_available())


def seconds(shape: ConvolutionShape, batch_size: int, which: Pass, device: str, *, allow_tf32: bool) -> float:
    """Of one convolution, timed by CUDA's events; PyTorch's settings are as before afterwards."""
    clock = pytorch.clock(device)
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=allow_tf32):
        return best_of(
            lambda work, times: clock(work, times * IN_A_ROW), body(shape, batch_size, which, device), times=3
        )


def body(shape: ConvolutionShape, batch_size: int, which: Pass, device: str) -> Callable[[], object]:
    """One convolution of that pass, channels last."""

    def array(*size: int) -> torch.Tensor:
        return torch.rand(size, device=device).to(memory_format=torch.channels_last)

    images, grad = (
        array(batch_size, shape.in_channels, *shape.in_size),
        array(batch_size, shape.out_channels, *shape.out_size),
    )
    weights = array(shape.out_channels, shape.in_channels, *shape.kernel)
    stride, padding = shape.stride, shape.padding
    if which == "forward":
        return lambda: torch.nn.functional.conv2d(images, weights, stride=stride, padding=padding)
    wanted = [which == "data_gradient", which == "weight_gradient", False]
    sizes = (None, stride, padding, (1, 1), False, (0, 0), 1)
    return lambda: torch.ops.aten.convolution_backward(grad, images, weights, *sizes, wanted)
