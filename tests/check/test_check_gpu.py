"""What check does on a GPU, on an emulated one: it finds an algorithm that is wrong, or that is not deterministic."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.tensorcore_case import RESULTS_OF_KERNELS

from ttfs_cupy.benchmarks import passes
from ttfs_cupy.benchmarks.peers import cudnn
from ttfs_cupy.check import algorithms as part
from ttfs_cupy.check import command as check
from ttfs_cupy.check import machine
from ttfs_cupy.convolution.algorithm import PASSES
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation.source import Variant

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

SMALL = ConvolutionShape((6, 5), 16, 12, (3, 3), padding=(1, 1))
ON_TENSOR_CORES = ("tensorcore", "tensorcore_tf32")


class Spoiled(EmulatedGpu):
    """Does something to what the kernels on tensor cores leave."""

    def __init__(self, spoil: Callable[[str, tuple[Any, ...]], None]):
        super().__init__()
        self._spoil = spoil

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        super().launch_blocks(variant, blocks, shared_bytes, *arguments)
        self._spoil(variant.kernel, arguments)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Few shapes and runs, since the emulator is slow."""
    monkeypatch.setattr(part, "SHAPES", ((SMALL, False), (SMALL, True)))
    monkeypatch.setattr(part, "RUNS", 3)
    monkeypatch.setattr(passes, "TYPICAL", SMALL)
    monkeypatch.setattr(passes, "IN_A_ROW", 1)
    return monkeypatch


def ran(device: CpuDevice, capsys: pytest.CaptureFixture[str]) -> tuple[check.Report, str]:
    report = check.Report()
    part.run_algorithms(report, device)
    return report, capsys.readouterr().out


def test_the_whole_command(small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small.setattr(machine, "get_device", lambda name: (EmulatedGpu(), "asked for"))
    small.setattr(check, "cubins", lambda report: "sm_90")
    small.setattr(check, "run_network", lambda report, device: None)
    small.setattr(passes, "lines", lambda device: passes_of(device))
    small.setattr(passes, "has_cudnn", lambda: False)
    assert check.main(["--device", "cuda"]) == 0
    said = capsys.readouterr().out
    for name in ("gemm", "winograd", *ON_TENSOR_CORES):
        for which in PASSES:
            assert len(re.findall(rf"^ +{name} {which} ", said, re.MULTILINE)) == 2, f"{name} {which}"
    last = said.splitlines()[-1]
    assert last.startswith("all is well; not run on emulated, which they do not fit: direct, first_layer; ")
    assert "speed was not compared with cuDNN's" in last
    assert "no GPU was used" not in last


lines = passes.lines


def passes_of(device: CpuDevice) -> Any:
    return lines(device, SMALL, 2)


def test_all_agree(small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    report, said = ran(EmulatedGpu(), capsys)
    assert report.problems == []
    assert "FAILED" not in said


@pytest.mark.parametrize(("kernel", "place", "which"), RESULTS_OF_KERNELS)
def test_a_wrong_kernel_is_named(
    kernel: str, place: int, which: str, small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(launched: str, arguments: tuple[Any, ...]) -> None:
        if launched == kernel and arguments[place] is not None:
            arguments[place][...] *= 1.05

    report, said = ran(Spoiled(spoil), capsys)
    (problem,) = report.problems
    assert problem.startswith("wrong convolutions on emulated: ")
    for name in ON_TENSOR_CORES:
        assert f"{name} ({which}): " in problem and "from gemm at " in problem
    assert "winograd" not in problem and "please report it" in problem
    assert len(re.findall("FAILED", said)) == len(ON_TENSOR_CORES)


def test_a_wrong_winner_is_noticed(small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(launched: str, arguments: tuple[Any, ...]) -> None:
        if launched == "tensorcore_forward" and arguments[11] is not None:
            winner = arguments[11]
            winner[...] = np.where(winner == 255, 255, 3 - winner)

    report, _ = ran(Spoiled(spoil), capsys)
    assert "tensorcore (forward)" in report.problems[0] and "pooled True" in report.problems[0]


def test_other_bits_are_noticed(small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)

    def spoil(launched: str, arguments: tuple[Any, ...]) -> None:
        if launched == "tensorcore_data_gradient":
            # within the tolerance
            arguments[9][...] *= 1 + np.float32(1e-6) * draw.random(arguments[9].shape, np.float32)

    report, said = ran(Spoiled(spoil), capsys)
    assert "tensorcore (data_gradient): its bits differ from run to run" in report.problems[0]
    assert "(forward)" not in report.problems[0] and "FAILED" in said


def test_an_algorithm_that_raises_does_not_stop_the_others(
    small: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    small.setattr(Winograd, "weight_gradient", broken)
    report, said = ran(CpuDevice(1), capsys)
    assert "winograd (weight_gradient): RuntimeError: out of order at ConvolutionShape" in report.problems[0]
    assert re.search(r"gemm weight_gradient +0\.0e\+00", said)


def test_a_cpu_has_no_throughput(capsys: pytest.CaptureFixture[str]) -> None:
    report = check.Report()
    part.throughput(report, CpuDevice(1))
    assert (capsys.readouterr().out, report.untested) == ("", [])


def test_throughput_beside_cudnn(small: pytest.MonkeyPatch) -> None:
    small.setattr(passes, "has_cudnn", lambda: True)
    small.setattr(cudnn, "seconds", lambda *arguments, allow_tf32: 1e-3)
    device = EmulatedGpu()
    device.description = "GPU 0, NVIDIA A100-SXM4-80GB, compute capability 8.0"
    rows = list(passes.lines(device, SMALL, 2))
    assert "of A100's TF32 peak, 156" in rows[0]
    # two convolutions of 1 ms
    (forward,) = [row for row in rows if row.startswith("cuDNN TF32 forward")]
    assert forward.split()[3] == "2.000" and forward.endswith("%")
    assert len([row for row in rows if row.startswith("tensorcore ")]) == 3


def test_cudnns_convolutions_are_those_of_the_layer() -> None:
    for which, size in (
        ("forward", (2, 12, 6, 5)),
        ("data_gradient", (2, 16, 6, 5)),
        ("weight_gradient", (12, 16, 3, 3)),
    ):
        result: Any = cudnn.body(SMALL, 2, which, "cpu")()  # type: ignore[arg-type]
        given = [array for array in (result if isinstance(result, tuple) else (result,)) if array is not None]
        assert [tuple(array.shape) for array in given] == [size]
