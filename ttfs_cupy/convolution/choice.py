"""Which algorithm convolves a layer."""

from collections.abc import Callable

from ttfs_cupy.convolution import direct, winograd
from ttfs_cupy.convolution.direct import Direct
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Algorithm, ConvolutionShape
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import Device
from ttfs_cupy.errors import UserError

ALGORITHMS: dict[str, Callable[[Device, ConvolutionShape], Algorithm]] = {
    "direct": Direct,
    "gemm": Gemm,
    "winograd": Winograd,
}

# Above it a matrix product is faster than the loop written out, and below it a patch matrix costs more than it saves.
MOST_PATCH_VALUES_FOR_DIRECT = 32

# With fewer channels, transforming a tile costs more than the products that it saves.
FEWEST_CHANNELS_FOR_WINOGRAD = 16


def choose(name: str, device: Device, shape: ConvolutionShape, layer: str) -> Algorithm:
    """The algorithm of that name for a layer; `auto` takes the one that suits its shape.

    Raises UserError, naming the layer, for an algorithm that is not known or does not fit.
    """
    if name == "auto":
        name = _suited(shape)
    elif name not in ALGORITHMS:
        raise UserError(f"convolution must be one of auto, {', '.join(ALGORITHMS)}, not {name!r}")
    trouble = _trouble(name, shape)
    if trouble:
        raise UserError(f"layer {layer}: {trouble}; choose auto or gemm")
    return ALGORITHMS[name](device, shape)


def _suited(shape: ConvolutionShape) -> str:
    if shape.patch_size <= MOST_PATCH_VALUES_FOR_DIRECT:
        return "direct"
    many_channels = min(shape.in_channels, shape.out_channels) >= FEWEST_CHANNELS_FOR_WINOGRAD
    return "winograd" if many_channels and _trouble("winograd", shape) is None else "gemm"


def _trouble(name: str, shape: ConvolutionShape) -> str | None:
    checks = {"direct": direct.fits, "winograd": winograd.fits}
    return checks[name](shape) if name in checks else None
