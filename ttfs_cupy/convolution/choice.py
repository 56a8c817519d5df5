"""Which algorithm convolves a layer."""

from collections.abc import Callable

from ttfs_cupy.convolution import winograd
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import Algorithm, ConvolutionShape
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import Device
from ttfs_cupy.errors import UserError

ALGORITHMS: dict[str, Callable[[Device, ConvolutionShape], Algorithm]] = {"gemm": Gemm, "winograd": Winograd}

# With fewer input channels, transforming a tile costs more than the products that it saves.
FEWEST_CHANNELS_FOR_WINOGRAD = 16


def choose(name: str, device: Device, shape: ConvolutionShape, layer: str) -> Algorithm:
    """The algorithm of that name; `auto` is winograd where it fits and pays, else gemm.

    Raises UserError, naming the layer, for an algorithm that is not known or does not fit.
    """
    if name == "auto":
        pays = min(shape.in_channels, shape.out_channels) >= FEWEST_CHANNELS_FOR_WINOGRAD
        return Winograd(device, shape) if pays and winograd.fits(shape) is None else Gemm(device, shape)
    if name not in ALGORITHMS:
        raise UserError(f"convolution must be auto, {' or '.join(ALGORITHMS)}, not {name!r}")
    trouble = winograd.fits(shape) if name == "winograd" else None
    if trouble:
        raise UserError(f"layer {layer}: {trouble}; choose auto or gemm")
    return ALGORITHMS[name](device, shape)
