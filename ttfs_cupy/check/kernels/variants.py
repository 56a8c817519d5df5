"""Variants of the cooperative kernels that are compiled without a GPU, by short names.

Of each kernel on tensor cores every candidate tile for a 3x3 kernel, and the first one for 1x1, whose tiles differ from
those in their ring of weights alone; those of warpgroups ("by groups") are launched on 9.0 alone. Left out are tiles
that are another's with half its warps: a warp's code, and what it takes, are the same. Of a first layer's, those for
three channels. Channels are copied four at a time, and neurons fire, with a weight sum and pooling joined.
"""

from collections.abc import Sequence
from dataclasses import replace

from ttfs_cupy.convolution import first_layer
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.split import PACKING, PACKING_FOR_GROUPS
from ttfs_cupy.convolution.tensorcore.tiles import (
    FAN,
    ProductTile,
    SumTile,
    forward_tiles,
    gradient_tiles,
    group_tiles,
    sum_tiles,
)
from ttfs_cupy.device import initial_potential, reductions, standardization
from ttfs_cupy.device.compilation.source import Constants, Variant

_THREE_CHANNELS: Constants = (
    *(("CHANNELS", 3), ("KERNEL_H", 3), ("KERNEL_W", 3), ("STRIDE_H", 1), ("STRIDE_W", 1)),
    *(("HAS_SUM", 1), ("FIRES", 1), ("POOLED", 1), ("VECTOR", 4)),
)
_COPIES: Constants = (("WHOLE", 1), ("VECTOR", 4))
_NEURONS: Constants = (("FIRES", 1), ("POOLED", 1), ("SEPARATE", 0))
_OPTIONS: dict[str, Constants] = {
    "tensorcore_forward": (("ROWS", 1), *_COPIES, ("HAS_SUM", 1), ("SPLIT", 1)),
    "tensorcore_data_gradient": (("ROWS", 1), *_COPIES, *_NEURONS),
    "tensorcore_weight_gradient": (*_COPIES, ("HAS_SUM", 1), *_NEURONS),
}

# Three strips, whose lines are even or odd; and fully connected layers of many channels and of few
_SUMMED = (
    ConvolutionShape((32, 32), 64, 64, (3, 3), padding=(1, 1)),
    ConvolutionShape((7, 7), 64, 64, (3, 3), padding=(1, 1)),
    ConvolutionShape((1, 1), 128, 64, (1, 1)),
    ConvolutionShape((1, 1), 64, 64, (1, 1)),
)

# Those whose neurons begin with a potential, too: it is a line at their end.
_CHARGED = ("tensorcore_forward 64x128 3x3", "tensorcore_forward by groups 64x128 4x3", "first_layer_forward 3x3x3")


def tile_name(tile: ProductTile | SumTile) -> str:
    """Rows and columns of a block's product (output channels by pixels, or by input channels), stages by taps.

    Of a weight gradient, too, that neighbours are not so in what they see.
    """
    columns = tile.pixels if isinstance(tile, ProductTile) else tile.in_channels
    rows = tile.channels if isinstance(tile, ProductTile) else tile.out_channels
    by_groups = "by groups " if isinstance(tile, ProductTile) and tile.in_groups else ""
    taps = tile.taps if isinstance(tile, ProductTile) else tile.all_taps
    apart = "apart " if isinstance(tile, SumTile) and not tile.paired else ""
    return f"{by_groups}{apart}{rows}x{columns} {tile.stages}x{taps}"


def variants() -> dict[str, Variant]:
    """As `tensorcore_forward 64x128 3x3`; what has no tiles, packing and reductions, by its name."""
    tiles: dict[str, list[ProductTile | SumTile]] = {
        "tensorcore_forward": [
            *(*_largest(forward_tiles(9)), forward_tiles(1)[0]),
            *(*group_tiles(9)[:2], group_tiles(1)[0]),
        ],
        "tensorcore_data_gradient": _largest(gradient_tiles(9)),  # has those for 1x1
        "tensorcore_weight_gradient": [sum_tiles(shape)[0] for shape in _SUMMED],
    }
    reduce = (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS)
    found = {one.kernel: one for one in (PACKING, PACKING_FOR_GROUPS, *reduce)}
    of_sums = (("SEPARATE", 0), ("FAN", first_layer.FAN))
    for kernel, threads, more in (
        ("first_layer_forward", first_layer.FORWARD.threads, ()),
        ("first_layer_weight_gradient", first_layer.WEIGHT_GRADIENT.threads, of_sums),
    ):
        found[f"{kernel} 3x3x3"] = Variant(kernel, (*_THREE_CHANNELS, ("THREADS", threads), *more), threads)
    for kernel, candidates in tiles.items():
        for tile in candidates:
            options = _OPTIONS[kernel]
            if isinstance(tile, ProductTile) and kernel == "tensorcore_forward":
                # those of one tap are of full connections
                ranged = int(tile.taps == 1)
                options = (("GROUPS", int(tile.in_groups)), *options, ("RANGED", ranged), ("FAN", FAN))
            variant = Variant(kernel, (*tile.constants, *options), tile.threads)
            found[f"{kernel} {tile_name(tile)}"] = variant
    return found | {f"{name} with initial potential": _charged(found[name]) for name in _CHARGED}


def _charged(variant: Variant) -> Variant:
    return replace(variant, constants=(*variant.constants, ("INITIAL", 1)))


def _largest(tiles: Sequence[ProductTile | SumTile]) -> list[ProductTile | SumTile]:
    """Without those whose warps do the same as another's that has more of them."""

    def of_warp(tile: ProductTile | SumTile) -> Constants:
        return tuple(constant for constant in tile.constants if not constant[0].startswith("WARPS_"))

    most: dict[Constants, int] = {}
    for tile in tiles:
        most[of_warp(tile)] = max(most.get(of_warp(tile), 0), tile.threads)
    return [tile for tile in tiles if tile.threads == most[of_warp(tile)]]
