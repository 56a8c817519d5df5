"""python -m ttfs_cupy.check: what it says, and that what is wrong ends with exit code 1 and a remedy."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of

from ttfs_cupy.check import command as check
from ttfs_cupy.check.kernel_report import cubins
from ttfs_cupy.check.kernels import registry
from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.device import Device, cuda_trouble
from ttfs_cupy.device.compilation import cpu_library, nvrtc, source
from ttfs_cupy.device.libraries import cuda_libraries, cupy_library

on_a_cpu_only = pytest.mark.skipif(cuda_trouble() is None, reason="this machine has a GPU")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *parts, sep=" ", **_: lines.append(sep.join(map(str, parts))))
        file = tmp_path_factory.mktemp("check") / "report.txt"
        assert check.main(["--device", "cpu", "--report", str(file)]) == 0
    # the file has all of it
    assert file.read_text() == "\n".join(lines) + "\n"
    return "\n".join(lines)


def test_it_names_what_a_report_needs(output: str) -> None:
    for title in ("ttfs_cupy", "NumPy", "libraries", "CuPy", "NVRTC", "network"):
        assert re.search(rf"^{title} ", output, re.MULTILINE), title
    assert np.__version__ in output


def test_every_kernel_is_run_and_compiled_for_every_architecture(output: str) -> None:
    for kernel in source.kernels("cpu"):
        # in the table of errors and, unless it is the CPU's alone, in that of registers
        tables = 2 if kernel in source.kernels("cuda") else 1
        assert len(re.findall(rf"^ *{kernel} ", output, re.MULTILINE)) == tables, kernel
    for variant in variants():
        # in the table of registers, whatever is said of its spills besides
        assert len(re.findall(rf"^ *{variant} +\d", output, re.MULTILINE)) == 1, variant
    for architecture in nvrtc.ARCHITECTURES:
        assert f"sm_{architecture}" in output


def test_it_says_what_it_could_not_test(output: str) -> None:
    last = output.splitlines()[-1]
    start = (
        "all is well; no GPU was used: the kernels for GPUs, those on tensor cores among them, were compiled for sm_75"
    )
    assert last.startswith(start)
    assert "not run, no training step was replayed as a CUDA graph, and no throughput was measured" in last


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the slow parts that a test does not ask about."""
    monkeypatch.setattr(check, "cubins", lambda report: "")
    monkeypatch.setattr(check, "run_network", lambda report, device: None)
    monkeypatch.setattr(check, "run_algorithms", lambda report, device: None)
    return monkeypatch


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err
    return captured.out.splitlines()[-1]


def test_a_kernel_that_deviates(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    strict = registry.Check("fire", -1.0, registry.checks()["fire"].function)
    quick.setitem(registry._registered, "fire", strict)
    registry.checks.cache_clear()
    try:
        assert check.main(["--device", "cpu"]) == check.FAILED
    finally:
        registry.checks.cache_clear()
    line = last_line(capsys)
    assert line.startswith("something is wrong: ")
    assert "fire" in line
    assert "please report it" in line


def test_no_compiler(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def missing() -> None:
        raise UserError("no C++ compiler was found: pip install 'ttfs-cupy[cpu]'")

    cpu_library.load()
    quick.setattr(cpu_library, "find_compiler", missing)
    # whoever has the kernels needs none
    assert check.main(["--device", "cpu"]) == 0
    assert "no C++ compiler was found" in capsys.readouterr().out
    quick.setenv("TTFS_CUPY_CACHE", str(tmp_path))
    assert check.main(["--device", "cpu"]) == check.FAILED
    line = last_line(capsys)
    assert "pip install 'ttfs-cupy[cpu]'" in line
    assert "no kernel was run" in line


def test_no_nvrtc(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> None:
        raise OSError("libnvrtc.so.12: cannot open shared object file")

    monkeypatch.setattr(nvrtc, "_nvrtc", missing)
    monkeypatch.setattr(check, "run_kernels", lambda report, device: None)
    monkeypatch.setattr(check, "run_network", lambda report, device: None)
    assert check.main(["--device", "cpu"]) == check.FAILED
    assert cuda_libraries.how_to_install("nvrtc") in last_line(capsys)


@on_a_cpu_only
def test_a_gpu_that_is_not_there(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    quick.setattr(check, "run_kernels", lambda report, device: None)
    assert check.main(["--device", "cuda"]) == check.FAILED
    assert "device 'cuda' cannot be used" in last_line(capsys)


def replayed(machine: Machine, capsys: pytest.CaptureFixture[str]) -> tuple[check.Report, str]:
    """What check says of training steps on that machine."""
    report = check.Report()
    check.replay_steps(report, device_of(machine))
    return report, capsys.readouterr().out


def test_training_steps_are_replayed_where_there_is_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    report, said = replayed(Machine(), capsys)
    same = r"psp_slope (\d), [a-z, ]*: training steps launched and replayed, the same bits"
    assert re.findall(same, said) == ["1", "0"]
    assert report.problems == report.untested == []


def test_a_gpu_that_captures_nothing_is_not_called_broken(capsys: pytest.CaptureFixture[str]) -> None:
    report, _ = replayed(Machine(refuses_capture=True), capsys)
    assert report.problems == []
    assert report.untested == ["no training step was replayed as a CUDA graph: cuda:0 captured none"]


@pytest.mark.usefixtures("lossy_graphs")
def test_a_graph_that_computes_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    report, said = replayed(Machine(), capsys)
    assert "its bits differ" in said
    assert "replayed as a CUDA graph computes something else on cuda:0" in report.problems[0]


@pytest.mark.parametrize("file", [".", "no/such/folder/report.txt"])
def test_a_report_that_cannot_be_written_is_refused_first(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        check.main(["--report", file])
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"error: --report {file} is no file")


def test_a_report_is_written_of_what_is_wrong(quick: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(report: check.Report, device: Device) -> None:
        raise RuntimeError("never seen")

    quick.setattr(check, "run_kernels", broken)
    file = tmp_path / "report.txt"
    assert check.main(["--device", "cpu", "--report", str(file)]) == check.FAILED
    assert file.read_text().splitlines()[-1].startswith("something is wrong: RuntimeError: never seen")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_is_in_the_report(
    number: signal.Signals, code: int, quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupted(report: check.Report, device: Device) -> None:
        signal.raise_signal(number)

    def again(*arguments: Any) -> None:
        signal.raise_signal(number)
        write_atomically(*arguments)

    quick.setattr(check, "run_kernels", interrupted)
    quick.setattr(check, "write_atomically", again)
    quick.setattr("ttfs_cupy.common.command.interruption.SECONDS_TO_ARRIVE", 0.0)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert check.main(["--device", "cpu", "--report", str(tmp_path / "report.txt")]) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"
    assert (tmp_path / "report.txt").read_text().splitlines()[-1] == "interrupted"


class Stream(io.StringIO):
    """One that can be written no further than two lines."""

    def __init__(self, number: int):
        super().__init__()
        self.error = OSError(number, os.strerror(number))

    def write(self, text: str) -> int:
        if self.getvalue().count("\n") >= 2:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.EPIPE, 141, ""),
        (errno.ENOSPC, 2, "error: the output cannot be written: No space left on device\n"),
        (errno.EIO, 2, "error: the output cannot be written: Input/output error\n"),
    ],
)
def test_an_output_that_cannot_be_written(
    number: int, code: int, said: str, quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick.setattr(sys, "stdout", Stream(number))
    assert check.main(["--device", "cpu", "--report", str(tmp_path / "report.txt")]) == code
    assert capsys.readouterr().err == said
    *found, reason = (tmp_path / "report.txt").read_text().splitlines()
    # what could not be printed is there, too
    assert found[0].startswith("ttfs_cupy ") and len(found) > 2
    assert reason in ("nobody reads the output any more", said.removeprefix("error: ").strip())


def test_a_reader_of_the_real_command_that_leaves() -> None:
    line = '"$0" -m ttfs_cupy.check --device cpu | head -1; echo ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable], capture_output=True, text=True, timeout=300, check=False
    )
    first, code = done.stdout.splitlines()
    assert first.startswith("ttfs_cupy ") and (code, done.stderr) == ("141", "")


def test_a_name_that_is_no_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        check.main(["--device", "tpu"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: device 'tpu' is not known")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "update NVIDIA's driver"),
        ("cudaErrorNoDevice: no CUDA-capable device is detected", "nvidia-smi"),
        ("ImportError: libcublas.so.12: cannot open shared object file", "pip install nvidia-cublas-cu12"),
        ("ModuleNotFoundError: No module named 'cupy_backends'", "pip install cupy-cuda12x"),
        ("ValueError: never seen", "please report it"),
    ],
)
def test_remedies(text: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "wanted_major", lambda: 12)
    assert remedy in check.remedy(text)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "CUDA 13 (580 or later)"),
        ("ImportError: libcublas.so.13: cannot open shared object file", "pip install 'nvidia-cublas==13.*'"),
        ("RuntimeError: Failed to find CUDA headers", "pip install 'nvidia-cuda-runtime==13.*'"),
    ],
)
def test_remedies_for_cuda_13(text: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_libraries, "wanted_major", lambda: 13)
    assert remedy in check.remedy(text)


def test_without_cupy_all_is_well_on_a_cpu(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    missing = "CuPy is not installed: pip install what it takes"
    quick.setattr(check, "cubins", cubins)
    quick.setattr(cuda_libraries, "missing_cupy", lambda: missing)
    assert check.main(["--device", "cpu"]) == 0
    line = last_line(capsys)
    assert line.startswith(f"all is well; no kernel was compiled for GPUs, since {missing}; no GPU was used: ")
    assert "were neither compiled nor run" in line


def test_two_cupys_are_something_wrong(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    two = [("cupy-cuda12x", "14.2.0"), ("cupy-cuda13x", "14.2.0")]
    quick.setattr(cuda_libraries, "cupy_distributions", lambda: two)
    quick.setattr(check, "cubins", cubins)
    for remembered in (cupy_library.import_cupy, nvrtc._nvrtc):
        remembered.cache_clear()
    assert check.main(["--device", "cpu"]) == check.FAILED
    line = last_line(capsys)
    assert line.startswith("something is wrong: cupy-cuda12x and cupy-cuda13x are both installed")
    # nothing that follows from it is told besides
    assert "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install one of them; no GPU was used" in line


def test_all_is_of_the_cuda_version_that_cupy_was_built_for(output: str) -> None:
    major = cuda_libraries.wanted_major()
    if major is None:
        pytest.skip("CuPy's name does not tell its CUDA version")
    assert re.search(rf"^CuPy +cupy-cuda{major}x \S+, CUDA runtime {major}\.\d+$", output, re.MULTILINE)
    assert re.search(rf"^NVRTC +{major}\.\d+$", output, re.MULTILINE)


def test_the_cuda_version_is_told_where_two_are_installed(output: str) -> None:
    for major in cuda_libraries.installed_majors():
        assert re.search(rf"\b{major}\b", output)
