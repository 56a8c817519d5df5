"""The machine code of the kernels on tensor cores, and how they use the banks of shared memory. No GPU is needed."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from emulator import Report, why_not
from helpers.machine_code import skip_without_tools
from helpers.tensorcore_case import AMPERE, HOPPER, Case

from ttfs_cupy.benchmarks import sass
from ttfs_cupy.benchmarks.gpu_model.ours import layers_of
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.convolution.algorithm import PASSES, Pass
from ttfs_cupy.convolution.shape import ConvolutionShape, OutgoingGradient
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.device.compilation import disassembly

# The aim, for every tile that is chosen.
FEWEST_PRODUCTS = 0.25
# The aim is 1; there are fewer.
MOST_EXTRA_WAVEFRONTS = {
    "tensorcore_forward": 0.05,
    "tensorcore_data_gradient": 0.0,
    "tensorcore_weight_gradient": 0.4,
}

# Two loops of a kernel, one in the other, a copy before them, a spill behind
LISTING = """
.text.product:
.L_x_0:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/              @!P0 LDGSTS.E.BYPASS.128 [R2], desc[UR4][R4.64] ;
.L_x_2:
        /*0020*/                   S2R R0, SR_TID.X ;
.L_x_1:
        /*0030*/                   LDS.128 R8, [R0] ;
        /*0040*/                   HMMA.16816.F32 R12, R8, R10, R12 ;
        /*0050*/                   NOP ;
        /*0060*/                   HMMA.1688.F32.TF32 R16, R8, R10, R16 ;
        /*0070*/               @P1 BRA `(.L_x_1) ;
        /*0080*/             @!UP0 BRA `(.L_x_2) ;
        /*0090*/                   STL [R1], R12 ;
        /*00a0*/                   EXIT ;
.L_x_3:
        /*00b0*/                   BRA `(.L_x_3);
""".splitlines()


def test_a_listing_is_read() -> None:
    code = disassembly.read(LISTING)
    assert code.instructions["HMMA"] == 2 and code.instructions["LDGSTS"] == 1 and code.uses_local_memory
    assert [(loop.first, loop.last) for loop in code.loops] == [(3, 7), (2, 8)]
    loop = code.main_loop
    assert loop is not None
    assert loop.instructions == {"LDS": 1, "HMMA": 2, "NOP": 1, "BRA": 1}
    assert loop.share_of_products() == 0.4 and loop.share_of_products("NOP") == 0.5


def test_a_product_of_a_warpgroup_counts_as_the_eight_of_a_warp_that_it_stands_for() -> None:
    listing = [line.replace("HMMA.16816.F32", "HGMMA.64x64x16.F32") for line in LISTING]
    loop = disassembly.read(listing).main_loop
    assert loop is not None and loop.products == 2
    assert loop.share_of_products() == 9 / 12


def test_code_without_products_has_no_main_loop() -> None:
    assert disassembly.read([line for line in LISTING if "HMMA" not in line]).main_loop is None


def test_how_to_get_the_disassembler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(disassembly.shutil, "which", lambda name: None)
    monkeypatch.setattr(disassembly.importlib.metadata, "files", lambda name: [])
    assert sass.main(["--chosen"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: NVIDIA's disassembler is not installed: pip install nvidia-cuda-nvdisasm"
    ]


@pytest.fixture
def disassembler() -> None:
    skip_without_tools()


@cache
def chosen(architecture: int, which: Pass) -> dict[tuple[object, ...], sass.Row]:
    """What the engine chooses for the layers of vgg7 and vgg11 that tensor cores suit, by the code's constants.

    Without readouts, which take a thousandth of a step.
    """
    card, found = sass.CARDS[architecture], {}
    layers = {
        (layer.shape, layer.pooled)
        for workload in WORKLOADS.values()
        for layer in layers_of(workload)
        if TensorCore.suits(layer.shape) and not layer.is_readout
    }
    for shape, pooled in layers:
        for one in sass.candidates(shape, sass.BATCH, card, pooled=pooled):
            if one.chosen and one.which == which and one.variant.constants not in found:
                found[one.variant.constants] = sass.row(one, card)
    return found


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("architecture", sass.CARDS)
def test_nothing_spills_and_copies_are_asynchronous(architecture: int, which: Pass, disassembler: None) -> None:
    rows = chosen(architecture, which)
    assert rows
    for constants, row in rows.items():
        assert not row.usage.spills and not row.usage.stack, constants
        assert not row.code.uses_local_memory, constants
        assert row.code.instructions[disassembly.ASYNCHRONOUS_COPY] > 0, constants
        assert row.resident >= 1, constants


@pytest.mark.parametrize("architecture", sass.CARDS)
@pytest.mark.parametrize("which", PASSES)
def test_a_quarter_of_the_main_loop_multiplies(architecture: int, which: Pass, disassembler: None) -> None:
    """NOPs counted, by which ptxas lets threads wait for compute capability 12.0."""
    rows = chosen(architecture, which)
    assert rows
    for constants, row in rows.items():
        assert row.share >= FEWEST_PRODUCTS, f"{row.share:.1%} of {constants}"


def test_some_candidate_of_each_kernel_multiplies_a_quarter(disassembler: None) -> None:
    card = sass.CARDS[80]
    best: dict[Pass, float] = dict.fromkeys(PASSES, 0.0)
    for one in sass.candidates(sass.TYPICAL, sass.BATCH, card, pooled=True):
        best[one.which] = max(best[one.which], sass.row(one, card).share_of_work)
    assert min(best.values()) >= FEWEST_PRODUCTS, best


def test_the_command_prints_a_table(disassembler: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert sass.main(["--sm", "80", "--chosen"]) == 0
    printed = capsys.readouterr().out
    for kernel in ("forward", "data_gradient", "weight_gradient"):
        assert f"{kernel} *" in printed
    assert "Compiled, not run." in printed


# The banks of shared memory

# What runs in each kernel's main loop and reaches shared memory; in implicit_gemm.h the loop itself reads one number.
MAIN_LOOP = {
    "tensorcore_forward": ("copy_weights", "multiply"),
    "tensorcore_data_gradient": ("copy_weights", "multiply"),
    "tensorcore_weight_gradient": ("copy_neurons", "copy_inputs", "derive", "load_gradients", "load_seen"),
}

SHAPES = [
    (ConvolutionShape((8, 8), 32, 64, (3, 3), padding=(1, 1)), False),
    (ConvolutionShape((14, 14), 64, 64, (3, 3), padding=(1, 1)), True),
    (ConvolutionShape((16, 16), 64, 128, (3, 3), padding=(1, 1)), True),
    (ConvolutionShape((7, 7), 64, 64, (3, 3), padding=(1, 1)), False),
    (ConvolutionShape((9, 9), 32, 64, (1, 1)), False),
]


def main_loop_accesses(kernel: str, report: Report) -> Iterator[tuple[int, int]]:
    """Accesses by whole warps, and their wavefronts beyond the fewest."""
    sites = [site for site, *_ in report.instructions]
    for functions, (_, accesses, extra, *_) in zip(functions_of(report, sites), report.instructions, strict=True):
        if any(re.search(rf"\b{name}\b", function) for name in MAIN_LOOP[kernel] for function in functions):
            yield accesses, extra


def functions_of(report: Report, sites: list[int]) -> list[list[str]]:
    """Those that each site is in, of what was inlined there, too."""
    options = ("--functions", "--demangle", "--inlines", "--addresses")
    command = ["addr2line", *options, "--exe", str(report.library), *map(hex, sites)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # each address, then two lines of each function
    return [of.splitlines()[::2] for of in re.split(r"^0x[0-9a-f]+\n", printed, flags=re.MULTILINE)[1:]]


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_lanes_seldom_meet_in_a_bank(capsys: pytest.CaptureFixture[str]) -> None:
    """At stride 1. Emulated, not measured. In the weight gradient those meet whose pixels are of two short lines."""
    for (shape, pooled), capability in product(SHAPES, (AMPERE, HOPPER)):
        case = Case(shape, 2, psp_slope=1.0, t_win=1.0, pooled=pooled, seed=3, capability=capability)
        case.forward(fires=True)
        draw = np.random.default_rng(0)
        grad = draw.standard_normal(case.out_shape, np.float32)
        outgoing = OutgoingGradient(case.neuron, grad, case.spikes(draw))
        case.run("data_gradient", outgoing, case.weights, np.empty_like(case.inputs))
        case.run("weight_gradient", case.inputs, outgoing, np.empty_like(case.weights))
        found = {}
        for variant, report in case.device.reports:
            if variant.kernel in MAIN_LOOP:
                accesses, extra = map(sum, zip(*main_loop_accesses(variant.kernel, report), strict=True))
                found[variant.kernel] = extra / accesses
        assert set(found) == set(MAIN_LOOP)
        with capsys.disabled():
            values = ", ".join(f"{kernel} {value:.2f}" for kernel, value in found.items())
            print(f"\n{capability}, {shape.in_size}, {shape.kernel}, extra wavefronts: {values}", end="")
        assert all(extra <= MOST_EXTRA_WAVEFRONTS[kernel] for kernel, extra in found.items()), found
