"""What the model says that a block of the first layer's kernels costs: counted again, and by hand."""

import re

import pytest
from helpers.machine_code import skip_without_tools

from ttfs_cupy.benchmarks.gpu_model import first_layer as gpu_first_layer
from ttfs_cupy.benchmarks.gpu_model.first_layer import (
    FirstLayerBlock,
    FirstLayerCosts,
    block_of,
    needs,
    pixel_instructions,
    pixel_products,
    window_instructions,
    window_products,
)
from ttfs_cupy.convolution import first_layer
from ttfs_cupy.convolution.tensorcore.costs import Costs, Rounds
from ttfs_cupy.device.compilation import cubins, disassembly
from ttfs_cupy.device.compilation.disassembly import Loop
from ttfs_cupy.device.compilation.source import Variant

FORWARD, WEIGHT_GRADIENT = gpu_first_layer.KERNELS
COSTS = FirstLayerCosts()

# What the lanes of FFMA do.
FLOAT_LANES = ("FFMA", "FADD", "FMUL", "IMAD")


def variant_of(kernel: str, channels: int = 3, size: tuple[int, int] = (3, 3), stride: int = 1, **more: int) -> Variant:
    work = first_layer.FORWARD if kernel == FORWARD else first_layer.WEIGHT_GRADIENT
    constants = {"CHANNELS": channels, "KERNEL_H": size[0], "KERNEL_W": size[1], "STRIDE_H": stride, "STRIDE_W": stride}
    constants |= {"THREADS": work.threads, "HAS_SUM": 1, "FIRES": 1, "POOLED": 0, "VECTOR": 4}
    if kernel == WEIGHT_GRADIENT:
        constants |= {"SEPARATE": 1, "FAN": first_layer.FAN}
    return Variant(kernel, tuple((constants | more).items()), work.threads)


def compiled(variant: Variant, architecture: int) -> bytes:
    """Skips where something is missing."""
    skip_without_tools()
    return cubins.cubin(variant.unit, architecture).code


def main_loop(code: disassembly.Code) -> Loop:
    """The innermost one with the most multiply-adds."""
    return min(code.loops, key=lambda loop: (-loop.instructions["FFMA"], loop.size))


@pytest.mark.parametrize("architecture", [75, 80, 89, 90])
@pytest.mark.parametrize("kernel", gpu_first_layer.KERNELS)
@pytest.mark.parametrize(
    ("channels", "size", "stride", "pooled"),
    [(1, (3, 3), 1, 0), (3, (3, 3), 1, 0), (3, (3, 3), 1, 1), (1, (5, 5), 1, 0), (27, (1, 1), 1, 0), (3, (3, 3), 2, 0)],
)
def test_main_loops_are_as_long_as_said(
    kernel: str, channels: int, size: tuple[int, int], stride: int, pooled: int, architecture: int
) -> None:
    variant = variant_of(kernel, channels, size, stride, POOLED=pooled)
    loop, constants = main_loop(disassembly.disassemble(compiled(variant, architecture))), dict(variant.constants)
    if kernel == FORWARD:
        said, ffma = window_instructions(constants), window_products(constants) + COSTS.first_window_ffma
    else:
        said, ffma = pixel_instructions(constants), pixel_products(constants) + COSTS.first_pixel_ffma
    assert said == pytest.approx(loop.size, rel=0.06)
    assert ffma == pytest.approx(sum(loop.instructions[name] for name in FLOAT_LANES), rel=0.06)


@pytest.mark.parametrize(("architecture", "ahead"), [(75, False), (80, False), (89, False), (90, True)])
def test_where_the_compiler_puts_the_loads_of_the_next_pixel(architecture: int, ahead: bool) -> None:
    """The kernel loads a pixel ahead. ptxas keeps that for sm_90; else it moves the loads behind all that could hide
    them, and every warp waits."""
    lines = disassembly.listing(compiled(variant_of(WEIGHT_GRADIENT), architecture))
    instructions = [line for line in lines if re.search(r"/\*[0-9a-f]{4,}\*/ +[@A-Z]", line)]
    loop = main_loop(disassembly.read(lines))
    inside = instructions[loop.first : loop.last + 1]
    products = [number for number, line in enumerate(inside) if " FFMA" in line]
    assert len(products) == loop.instructions["FFMA"]
    loads = [number for number, line in enumerate(inside) if "LDG" in line]
    assert len(loads) == 3  # dLoss/dx, x and S
    behind = sum(number > loads[-1] for number in products) / len(products)
    assert behind > COSTS.first_ahead if ahead else behind < 0.05


TILE = {"lanes": 32, "tile_height": 4, "tile_width": 32, "halo_pitch": 102}

# 27 values in 5 rounds of 6: 16 bytes of each by 384 threads, written and read; 12 sums by 2 threads, 6 each, then 2
ADDING = 5 * (2 * 384 * 6 * 16 / 128 + 150 + (6 + 2) * 12)


def test_blocks_by_hand() -> None:
    # 32 windows of 4 pixels, 8 at once; 27 values of 128 channels, for A and S
    forward = block_of(variant_of(FORWARD), TILE)
    assert forward.macs == 2 * 128 * 128 * 27
    # a window: a load for each weight and each of 4 x 6 pairs of pixels, and masks of the latter
    window = 550 + 2 * 4 * 4 * 27 + 27 + 24 + 48
    # 14 turns of weights, 6 rows of 4 pieces for 8 warps
    assert forward.instructions == 8 * (4 * window + 250 + 14 * 16 + 35 + 4 * 10)
    assert forward.ffma == 8 * 4 * (2 * 4 * 4 * 27 + 165)
    # weights, 6 rows of pixels, x and S
    assert forward.l2_bytes == 4 * (27 * 128 + 6 * 102) + 128 * 128 * 8
    assert (forward.waiting, forward.serial, forward.loads) == (2200, 0, 0)

    # 10 tiles of 128 pixels, 12 at once: 11 turns
    gradient = block_of(variant_of(WEIGHT_GRADIENT), {**TILE, "range_tiles": 10, "ranges": 103})
    assert gradient.macs == 10 * 2 * 128 * 128 * 27
    assert gradient.loads == 10 * 11
    assert gradient.instructions == 12 * (110 * (112 + 8 * 27 + 2 * 27) + 10 * (180 + 35 + 40))
    assert gradient.ffma == 12 * 110 * (8 * 27 + 43)
    # dLoss/dx, x and S, and 6 rows of pixels
    assert gradient.l2_bytes == 10 * (128 * 128 * 12 + 4 * 6 * 102)
    # 103 parts, 12 and 12 of them added, 9 of these: 3 turns of 8 loads at once and 4, or 1, alone
    assert gradient.serial == ADDING + (5 + 3 * 5 + 5 + 3 * 2) * 300
    assert gradient.waiting == 2200 + 10 * 1500


def test_pooling_by_hand() -> None:
    forward, pooled = (block_of(variant_of(FORWARD, POOLED=number), TILE) for number in (0, 1))
    assert forward.l2_bytes - pooled.l2_bytes == 128 * 128 * (8 - 9 / 4)
    values = {**TILE, "range_tiles": 1, "ranges": 1}
    gradient, pooled = (block_of(variant_of(WEIGHT_GRADIENT, POOLED=number), values) for number in (0, 1))
    assert pooled.l2_bytes - gradient.l2_bytes == 128 * 128
    assert pooled.instructions - gradient.instructions == 12 * 11 * 34
    # one range has nothing to add
    assert gradient.serial == ADDING


def test_the_longest_of_five_resources() -> None:
    block = FirstLayerBlock(0, instructions=160, ffma=64, waves=12, l2_bytes=640, waiting=20, serial=5, loads=2)
    costs, general = FirstLayerCosts(first_rate=0.5, first_load=100, first_ahead=0.5), Costs(of_two_warps=0.8)
    # 3 multiprocessors, 2 resident blocks of 4 warps: the busiest does 2 of 5 beside one another, 2 warps a scheduler
    rounds = Rounds.of(5, 3, 2)
    common = {"costs": costs, "general": general}
    found = needs(block, 128, rounds, 64, 64, loads_ahead=False, **common)
    assert found == {
        "FFMA": pytest.approx(2 * 32 / 0.4 + 20 + 5),
        "issue": pytest.approx(2 * 40 / 0.4 + 20 + 5),
        "shared memory": pytest.approx(2 * 12 / 0.4 + 20 + 5),
        # a warp's 40 instructions, and two loads; the two blocks wait together
        "latency": pytest.approx(40 / 0.4 + 2 * 100 + 20 + 5),
        "L2": pytest.approx(5 / 3 * 10),
    }
    ahead = needs(block, 128, rounds, 64, 64, loads_ahead=True, **common)
    assert found["latency"] - ahead["latency"] == pytest.approx(0.5 * 40 / 0.4)
    assert "latency" not in needs(block_of(variant_of(FORWARD), TILE), 256, rounds, 64, 64, loads_ahead=False)
