"""What a block on tensor cores is said to cost, and the choice of tiles that follows from it."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from emulator.device import EmulatedGpu
from helpers.machine_code import skip_without_tools

from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.costs import (
    Block,
    Costs,
    Rounds,
    needs,
    product_block,
    stage_instructions,
    sum_block,
)
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tiles import (
    Sliding,
    clocks,
    fastest,
    forward_tiles,
    gradient_tiles,
    group_tiles,
    sum_tiles,
)
from ttfs_cupy.device.compilation import cubins, disassembly
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import GpuRates, of_capability

BY_GROUPS = "tensorcore_forward by groups"
OPTIONS = {
    "tensorcore_forward": ("HAS_SUM", "SPLIT"),
    BY_GROUPS: ("HAS_SUM", "SPLIT"),
    "tensorcore_data_gradient": ("FIRES", "POOLED"),
    "tensorcore_weight_gradient": ("HAS_SUM", "FIRES", "POOLED"),
}


def tiles_of_sums(taps: int) -> list[Any]:
    """Of 128 input channels."""
    kernel = (3, 3) if taps == 9 else (1, 1)
    return list(sum_tiles(ConvolutionShape((32, 32), 128, 64, kernel, padding=(kernel[0] // 2, kernel[1] // 2))))


TILES: dict[str, Callable[[int], list[Any]]] = {
    "tensorcore_forward": forward_tiles,
    BY_GROUPS: group_tiles,
    "tensorcore_data_gradient": gradient_tiles,
    "tensorcore_weight_gradient": tiles_of_sums,
}


def variant_of(kernel: str, tile: int, taps: int = 9, **options: int) -> Variant:
    of = TILES[kernel](taps)[tile]
    constants = {**dict(of.constants), **dict.fromkeys(("ROWS", "WHOLE", *OPTIONS[kernel]), 1)}
    constants |= {"VECTOR": 4, "SEPARATE": 0, "GROUPS": int(kernel == BY_GROUPS), "RANGED": 0, "FAN": 8}
    return Variant(kernel.split()[0], tuple({**constants, **options}.items()), of.threads)


@pytest.fixture(scope="module")
def tools_are_installed() -> None:
    skip_without_tools()


@pytest.mark.usefixtures("tools_are_installed")
@pytest.mark.parametrize("architecture", [80, 90])
@pytest.mark.parametrize(
    "variant",
    [
        variant_of("tensorcore_forward", 0),
        variant_of("tensorcore_forward", 1),
        variant_of("tensorcore_forward", 0, HAS_SUM=0, SPLIT=0),
        variant_of("tensorcore_forward", 0, taps=1),
        variant_of(BY_GROUPS, 0),
        variant_of(BY_GROUPS, 1, HAS_SUM=0),
        variant_of(BY_GROUPS, 2),
        variant_of(BY_GROUPS, 2, taps=1),
        variant_of("tensorcore_data_gradient", 0),
        variant_of("tensorcore_data_gradient", 3),
        variant_of("tensorcore_data_gradient", 2, POOLED=0),
        variant_of("tensorcore_data_gradient", 4),
        variant_of("tensorcore_weight_gradient", 0),
        variant_of("tensorcore_weight_gradient", 0, POOLED=0, PAIRED=0),
        variant_of("tensorcore_weight_gradient", 0, HALO=48),
        variant_of("tensorcore_weight_gradient", 0, taps=1),
        variant_of("tensorcore_weight_gradient", 4),
        variant_of("tensorcore_weight_gradient", 4, POOLED=0),
    ],
    ids=lambda variant: f"{variant.kernel}-{'-'.join(str(value) for _, value in variant.constants)}",
)
def test_main_loops_are_as_long_as_said(variant: Variant, architecture: int) -> None:
    if variant.needs_warpgroups and architecture != 90:
        pytest.skip("warpgroups are of 9.0")
    loop = disassembly.disassemble(cubins.cubin(variant.unit, architecture).code).main_loop
    assert loop is not None
    assert stage_instructions(variant) == pytest.approx(loop.size, rel=0.25)


def test_the_longest_of_four_resources() -> None:
    block = Block(kind="half", macs=1000, instructions=80, waves=30, l2_bytes=640, serial=5)
    costs = Costs(of_products=0.5, of_two_warps=0.8, of_block=10)
    # 3 multiprocessors, 2 resident blocks of 4 warps: the busiest does 2 of 5 beside one another, 2 warps a scheduler
    rounds = Rounds.of(5, 3, 2)
    assert rounds == Rounds(turns=2, at_a_time=2, share=5 / 3)
    found = needs(block, 128, rounds, GpuRates(half=100, tf32=50, l2_bytes=64), costs)
    assert found == {
        "tensor cores": pytest.approx(2 * 20 / 0.8 + 10 + 5),
        "issue": pytest.approx(2 * 20 / 0.8 + 10 + 5),
        "shared memory": pytest.approx(2 * 30 / 0.8 + 10 + 5),
        "L2": pytest.approx(5 / 3 * 10),
    }


def test_blocks_by_hand() -> None:
    # 128 channels x 128 pixels (warps of 2 x 8 fragments), 9 taps of 32 channels, a halo of 300 pixels
    gradient = product_block(variant_of("tensorcore_data_gradient", 0), 9, 2, 300)
    assert gradient.macs == 128 * 128 * 9 * 32
    # weights, and of each neuron dLoss/dx, x and S, and a byte
    assert gradient.l2_bytes == 4 * 9 * 128 * 32 + 300 * 32 * (3 * 4 + 1)
    # 64 channels x 128 pixels by two warpgroups: five products, each reads 2 KiB of weights; 16 bytes a lane of pixels
    groups = product_block(variant_of(BY_GROUPS, 0), 9, 2, 300)
    assert (groups.kind, groups.macs) == ("group_half", 5 * 64 * 128 * 9 * 32)
    assert groups.waves == 2 * (9 * (2 * 5 * 16 + 8 * 2 * 4) + (300 * 4 * 48 + 9 * 64 * 64) / 128)
    # the same in 9 ranges: the last to come adds 8, and then 2, A and S, each after a latency, at 64 bytes a clock
    ranged = product_block(variant_of(BY_GROUPS, 0), 9, 2, 300, ranges=9)
    assert ranged == replace(groups, serial=10 * (300 + 8 * 64 * 128 / 64))
    # 64 output and 64 input channels, 9 taps, A and S; 100 steps, each with three halos of 24 pixels
    weight = sum_block(variant_of("tensorcore_weight_gradient", 0), 1600, 8)
    assert weight.macs == 2 * 64 * 64 * 9 * 1600
    assert weight.l2_bytes == 1600 * 64 * (3 * 4 + 1) + 100 * 3 * 24 * 64 * 4
    # a lane's gradients are 16 bytes for each of 4 x 4 fragments; of its inputs, 4 for each of 3 x 2 x 4 pixels
    seen = 8 * (4 * 4 * 4 + 3 * 2 * 4)
    assert weight.waves == 100 * (seen + (256 * (2 * (3 * 16 + 4) + 2 * 16) + 3 * 24 * 16 * 16) / 128)
    # 8 sums, each after a latency, at 64 bytes a clock; 20 ranges: 8, and then 3
    of_part = 300 + 4 * 64 * 64 * 9 / 64
    assert weight.serial == 8 * of_part and not sum_block(variant_of("tensorcore_weight_gradient", 0), 1600, 1).serial
    assert sum_block(variant_of("tensorcore_weight_gradient", 0), 1600, 20).serial == 11 * of_part


SHAPE = ConvolutionShape((32, 32), 64, 64, (3, 3), padding=(1, 1))


@pytest.mark.parametrize(("capability", "multiprocessors"), [((8, 0), 108), ((9, 0), 132)])
def test_large_tiles_for_the_data_gradient(capability: tuple[int, int], multiprocessors: int) -> None:
    """By products and rounds alone 64 channels x 64 pixels won; they copy and derive twice as many neurons."""
    device = EmulatedGpu(of_capability(capability, multiprocessors), registers=170)
    sliding = Sliding.backward(SHAPE)
    options = (("VECTOR", 4), ("FIRES", 1), ("POOLED", 0), ("SEPARATE", 0))
    launches = [
        tile.launch("tensorcore_data_gradient", options, sliding, 256, 64, staged=True) for tile in gradient_tiles(9)
    ]
    chosen = fastest(device, launches, launches[-1])
    assert dict(chosen.variant.constants)["WARP_PIXELS"] == 8
    assert clocks(device, chosen) < 0.85 * clocks(device, launches[3])


def test_what_does_not_fit_takes_forever() -> None:
    gpu = of_capability((8, 0), 108)
    device = EmulatedGpu(gpu, registers=250)
    launch = forward_tiles(9)[0].launch(
        "tensorcore_forward", (("GROUPS", 0), ("HAS_SUM", 1), ("SPLIT", 1)), Sliding.forward(SHAPE), 1, 64
    )
    assert math.isfinite(clocks(device, launch))
    device.gpu = replace(gpu, block_shared_bytes=launch.shared_bytes - 1)
    assert clocks(device, launch) == math.inf


@pytest.mark.parametrize("multiprocessors", [2, 108, 500])
def test_the_workspace_is_enough_for_a_smaller_batch(multiprocessors: int) -> None:
    device = EmulatedGpu(of_capability((8, 0), multiprocessors), registers=150)
    for channels in (32, 64, 200):
        algorithm = TensorCore(device, ConvolutionShape((7, 7), channels, 48, (3, 3), padding=(1, 1)))
        room = 0
        for batch in range(1, 300, 7):
            room = max(room, algorithm.workspace(batch, "weight_gradient"))
            launch = algorithm._sum_launch(batch)
            assert room == algorithm.workspace(batch, "weight_gradient")
            assert launch.ranges == 1 or launch.ranges * algorithm.shape.weights <= room
