"""What the kernels on tensor cores are in a GPU's machine code: python -m ttfs_cupy.benchmarks.sass. Needs no GPU.

Nothing is measured. For a layer, every tile that the engine may choose is compiled and disassembled: registers, spills,
how many blocks fit into a multiprocessor, and what the main loop is made of.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.sass")

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.gpu_model.assumptions import GPUS, Gpu
from ttfs_cupy.benchmarks.gpu_model.recorder import RecordingGpu
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.convolution.algorithm import PASSES, Pass
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.costs import product_channels, sum_channels
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tiles import Launch, SumTile
from ttfs_cupy.device.compilation import cubins, disassembly, nvrtc
from ttfs_cupy.device.compilation.disassembly import ASYNCHRONOUS_COPY, Code
from ttfs_cupy.device.compilation.nvrtc import Usage
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

# One for each kind of machine code; of the last, the limits and the multiprocessors count here, its speed is not known.
CARDS = {
    80: GPUS["A100"],
    90: GPUS["H100"],
    120: Gpu("sm_120", (12, 0), 170, 0, 0, 0, 0, 0, 0, 0, 0, "GeForce RTX 5090: 170 multiprocessors"),
}

TYPICAL = ConvolutionShape((16, 16), 256, 256, (3, 3), padding=(1, 1))
BATCH = 256

# ptxas puts one between two products for compute capability 12.0: the processor waits, and does nothing.
WAITING = "NOP"

# What a launch of the weight gradient is compiled for, beyond what its tile was chosen by.
_OF_NEURONS = ("HAS_SUM", "FIRES", "POOLED", "SEPARATE")

COLUMNS = (
    f"{'kernel':21}{'block':9}{'ring':6}{'pooled':8}{'sm':>4}{'regs':>6}{'spills':>8}{'local':>7}{'KiB':>6}{'blocks':>8}"
    f"{'loop':>6}{'HMMA':>6}{'NOP':>5}{'share':>7}{'work':>6}{'LDGSTS':>8}"
)
LEGEND = """
Compiled, not run. *: the tile that the engine chooses, by counting. block: rows x columns of its product; ring: stages
x taps. regs: registers of a thread; spills: bytes; local: instructions that reach local memory. KiB: shared memory of a
block; blocks: how many a multiprocessor runs at a time. loop: instructions of the main loop, of which HMMA (products on
tensor cores) and NOP (waiting); by groups it is HGMMA, which stands for 8 HMMA. share: HMMA of all; work: HMMA of all
but NOP. LDGSTS: asynchronous copies, in the kernel.
""".strip()


@dataclass(frozen=True)
class Candidate:
    """A tile for a pass of a layer, and whether the engine chooses it."""

    which: Pass
    launch: Launch
    chosen: bool

    @property
    def variant(self) -> Variant:
        return self.launch.variant


@dataclass(frozen=True)
class Row:
    """A candidate in machine code."""

    candidate: Candidate
    architecture: int
    usage: Usage
    resident: int
    code: Code

    @property
    def main_loop(self) -> disassembly.Loop:
        loop = self.code.main_loop
        assert loop is not None, f"{self.candidate.variant} has no loop with products"
        return loop

    @property
    def share(self) -> float:
        """Of products among the main loop's instructions."""
        return self.main_loop.share_of_products()

    @property
    def share_of_work(self) -> float:
        """The same without those that wait."""
        return self.main_loop.share_of_products(WAITING)


class Compiling(RecordingGpu):
    """Also remembers every candidate that a tile was chosen from."""

    def __init__(self, gpu: Gpu):
        super().__init__(gpu)
        self.considered: list[Launch] = []


@dataclass(frozen=True)
class _Considering(TensorCore):
    """Tells the device about the candidates."""

    def _choose(self, candidates: list[Launch], last: Launch) -> Launch:
        assert isinstance(self.device, Compiling)
        self.device.considered = candidates
        return super()._choose(candidates, last)


def usage(variant: Variant, architecture: int) -> Usage:
    """What the assembler says of it."""
    return next(one for one in cubins.cubin(variant.unit, architecture).usage if one.kernel == variant.kernel)


def candidates(shape: ConvolutionShape, batch_size: int, card: Gpu, *, pooled: bool) -> Iterator[Candidate]:
    """Every tile of every pass of that layer of spiking neurons, psp_slope 1, that fits the card."""
    device = Compiling(card)
    neuron = SpikingNeuron(device, 1.0, PspSlope(device, 1.0))
    algorithm = _Considering(device, shape)
    height, width = (size // 2 if pooled else size for size in shape.out_size)
    size = (batch_size, height, width, shape.out_channels)
    winner = device.pages(*size, dtype=np.uint8) if pooled else None
    images = device.pages(batch_size, *shape.in_size, shape.in_channels)
    weights = device.pages(*shape.kernel, shape.in_channels, shape.out_channels)
    out = Activations(device.pages(*size), device.pages(*size), winner)
    outgoing = OutgoingGradient(neuron, device.pages(*size), out)
    for which in PASSES:
        workspace = device.pages(algorithm.workspace(batch_size, which))
        if which == "forward":
            algorithm.forward(images, weights, neuron, out, workspace)
        elif which == "data_gradient":
            algorithm.data_gradient(outgoing, weights, device.pages(*images.shape), workspace)
        else:
            algorithm.weight_gradient(images, outgoing, weights, workspace)
        chosen = device.launches[-1].variant
        assert chosen is not None
        kind = {name: value for name, value in chosen.constants if name in _OF_NEURONS}
        # candidates that differ only in how a sum is cut into ranges are one variant
        for launch in {
            one.variant: one for one in (each.with_constants(**kind) for each in device.considered)
        }.values():
            if launch.shared_bytes <= card.limits.block_shared_bytes:
                yield Candidate(which, launch, launch.variant == chosen)


def row(candidate: Candidate, card: Gpu) -> Row:
    """Compiles and disassembles it. Raises UserError where there is no compiler or no disassembler."""
    variant = candidate.variant
    cubin = cubins.cubin(variant.unit, card.architecture)
    taken = usage(variant, card.architecture)
    resident = card.limits.resident_blocks(variant.threads, taken.registers, candidate.launch.shared_bytes)
    return Row(candidate, card.architecture, taken, resident, disassembly.disassemble(cubin.code))


def line(of: Row) -> str:
    """Under COLUMNS."""
    one, loop = of.candidate, of.main_loop
    constants = dict(one.variant.constants)
    if "WARP_PIXELS" in constants:
        rows, columns = product_channels(constants), 8 * constants["WARP_PIXELS"] * constants["WARPS_ACROSS"]
        ring = f"{constants['STAGES']}x{constants['TAPS']}"
    else:
        rows, columns = sum_channels(constants)
        ring = f"{SumTile.stages}x{constants['STRIPS'] * constants['TAPS']}"
    name = one.variant.kernel.removeprefix("tensorcore_") + (" by groups" if one.variant.needs_warpgroups else "")
    local = sum(of.code.instructions[name] for name in disassembly.LOCAL_MEMORY)
    # forward is told at run time
    pooled = {None: "either", 0: "no", 1: "yes"}[constants.get("POOLED")]
    return (
        f"{name + (' *' if one.chosen else ''):21}{f'{rows}x{columns}':9}{ring:6}"
        f"{pooled:8}{of.architecture:4}{of.usage.registers:6}"
        f"{of.usage.spill_stores + of.usage.spill_loads:8}{local:7}{one.launch.shared_bytes / 1024:6.1f}{of.resident:8}"
        f"{loop.size:6}{loop.products:6}{loop.instructions[WAITING]:5}"
        f"{of.share:7.1%}{of.share_of_work:6.1%}{of.code.instructions[ASYNCHRONOUS_COPY]:8}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.sass", description=__doc__)
    add = parser.add_argument
    add("--sm", nargs="+", type=int, choices=CARDS, default=list(CARDS), help="architectures (default: 80 90 120)")
    add("--chosen", action="store_true", help="only the tiles that the engine chooses")
    parsed = parser.parse_args(arguments)
    return command_line.run(lambda: conclude(parsed), process_ends=arguments is None)


def conclude(parsed: argparse.Namespace) -> None:
    disassembly.disassembler()  # says at once where there is none
    of = TYPICAL
    say(
        f"{of.in_channels} -> {of.out_channels} channels, {of.kernel[0]}x{of.kernel[1]}, "
        f"{of.in_size[0]}x{of.in_size[1]} pixels, batch {BATCH}; NVRTC {'.'.join(map(str, nvrtc.version()))}",
        "",
        COLUMNS,
    )
    for architecture in dict.fromkeys(parsed.sm):
        card = CARDS[architecture]
        both = [one for pooled in (False, True) for one in candidates(of, BATCH, card, pooled=pooled)]
        for one in sorted(dict.fromkeys(both), key=lambda one: PASSES.index(one.which)):
            if one.chosen or not parsed.chosen:
                say(line(row(one, card)))
    say("", LEGEND)
