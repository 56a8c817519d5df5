"""How often each line of the kernels runs: gcov on the build for the CPU, and on the emulator's.

    python tests/line_coverage.py FOLDER

Optimisation is off, accesses to memory are not watched, and one thread runs: it is the lines that count here.
"""

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ttfs_cupy.device.compilation import source

# Lines by the file's name (no two have the same) and number: how often they ran in all builds together.
Counts = dict[str, dict[int, int]]

_FUNCTION = re.compile(r"^\s*(?:DEVICE|DEVICE_MEMBER|KERNEL)\b[^;]*$")

# In the folder that counts are written to
FLAT, COOPERATIVE = "flat", "cooperative"


def why_not() -> str | None:
    """Why lines cannot be counted here, or None if they can."""
    from emulator import why_not

    return why_not() or (None if shutil.which("gcov") else "lines are counted by gcov, which is not there")


def count(folder: Path) -> Counts:
    """Runs everything in processes of their own, since counts are written as a process ends."""
    for part in (FLAT, COOPERATIVE):
        (folder / part).mkdir(parents=True)
        run(sys.executable, __file__, part, str(folder / part))
    return read(folder)


def run(*command: str, folder: Path | None = None) -> str:
    """What it prints. Raises RuntimeError with its messages where it fails."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{command[0]}: {result.stderr.strip()}")
    return result.stdout


def run_flat(folder: Path) -> None:
    """The kernels' checks."""
    from ttfs_cupy.check.kernels import check_kernels
    from ttfs_cupy.device import CpuDevice
    from ttfs_cupy.device.compilation import cpu_library

    load = cpu_library.load
    cpu_library.load = lambda *_: load(("-O0", "--coverage", "-dumpdir", f"{folder}/"), folder)
    for result in check_kernels(CpuDevice(1)):
        assert result.passed, result


def run_cooperative(folder: Path) -> None:
    """The checks of reductions, and a few layers. Between them they reach every line: every kind of neuron, of copies,
    of tiles at an edge."""
    import numpy as np
    from emulator import Emulator, device
    from helpers.tensorcore_case import AMPERE, Case

    from ttfs_cupy.check.kernels import check_kernels
    from ttfs_cupy.convolution.first_layer import FirstLayer
    from ttfs_cupy.convolution.shape import ConvolutionShape, OutgoingGradient
    from ttfs_cupy.convolution.tensorcore.split import TensorCore
    from ttfs_cupy.convolution.tensorcore.tf32 import TensorCoreTf32
    from ttfs_cupy.device import initial_potential, reductions, standardization
    from ttfs_cupy.device.gpu_limits import of_capability

    @cache
    def counting(file: str, constants: source.Constants) -> Emulator:
        text = source.cooperative_text(file)
        return Emulator(text, constants=dict(constants), file_name=f"{file}.cu", cache=folder, coverage=folder)

    device.emulator_of = counting  # type: ignore[assignment]
    together = (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS)
    for result in check_kernels(device.EmulatedGpu(), [variant.kernel for variant in together]):
        assert result.passed, result
    square, padded = (3, 3), (1, 1)
    # with pooling and without it, and a readout; channels that are whole chunks, multiples of 4, and odd; strides;
    # sizes whose last pixels are in no window; more taps than are summed at once
    cases = [
        (Case(ConvolutionShape((8, 8), 32, 64, square, padding=padded), 2, 1.0, 1.0, True, 1), True, "gain"),
        (
            Case(ConvolutionShape((8, 8), 32, 64, square, padding=padded), 2, 1.0, 1.0, True, 1, capability=AMPERE),
            True,
            "gain",
        ),
        (
            Case(ConvolutionShape((6, 5), 20, 13, square, padding=padded), 2, 1.0, 2.0, False, 2, capability=AMPERE),
            True,
            "gain",
        ),
        (Case(ConvolutionShape((6, 5), 20, 12, square, padding=padded), 2, 1.0, 2.0, False, 2), False, "gain"),
        (Case(ConvolutionShape((9, 9), 5, 7, square, padding=padded), 2, 1.0, 1.0, True, 3), True, "separate"),
        (Case(ConvolutionShape((9, 7), 20, 12, square, (2, 2), padded), 1, 0.0, 1.0, False, 4), True, "gain"),
        # pixels enough for ranges of them, whose sums are added up
        (Case(ConvolutionShape((9, 8), 20, 7, square, padding=padded), 8, 1.0, 1.0, False, 7), True, "gain"),
        (Case(ConvolutionShape((7, 7), 17, 9, (5, 5), padding=(2, 2)), 1, 0.5, 1.0, False, 5), True, "gain"),
        (Case(ConvolutionShape((6, 6), 36, 68, (1, 1)), 3, 0.0, 1.0, True, 6), True, "gain"),
        # ranges of a full connection's inputs, by warps and by warpgroups
        (Case(ConvolutionShape((1, 1), 260, 10, (1, 1)), 3, 1.0, 1.0, False, 12, capability=AMPERE), True, "gain"),
        (Case(ConvolutionShape((1, 1), 260, 10, (1, 1)), 3, 1.0, 1.0, False, 12), True, "gain"),
        # first layers
        (
            Case(ConvolutionShape((20, 20), 3, 16, square, padding=padded), 8, 1.0, 1.0, True, 8, FirstLayer),
            True,
            "gain",
        ),
        (
            Case(ConvolutionShape((9, 7), 1, 7, square, padding=padded), 2, 1.0, 1.0, False, 9, FirstLayer),
            True,
            "separate",
        ),
        (Case(ConvolutionShape((9, 7), 2, 5, square, padding=padded), 1, 0.0, 1.0, True, 10, FirstLayer), True, "gain"),
        (Case(ConvolutionShape((6, 6), 3, 8, square), 1, 1.0, 1.0, False, 11, FirstLayer), False, "gain"),
    ]
    for case, fires, clip in cases:
        case.device.gpu = of_capability(case.capability, multiprocessors=500)
        object.__setattr__(case.neuron, "clip", clip)
        if case is cases[3][0]:
            case.__dict__["algorithm"] = TensorCoreTf32(case.device, case.shape)
        if case is cases[10][0]:
            case.__dict__["algorithm"] = TensorCore(case.device, case.shape, 4)
        case.forward(fires=fires)
        draw = np.random.default_rng(0)
        grad = draw.standard_normal(case.out_shape, np.float32)
        spikes = case.spikes(draw)
        neuron = case.neuron if fires else case.readout
        kept = type(spikes)(spikes.output, spikes.weight_sum if case.psp_slope else None, spikes.winner)
        outgoing = OutgoingGradient(neuron, grad, kept)
        case.run("data_gradient", outgoing, case.weights, np.empty_like(case.inputs))
        case.run("weight_gradient", case.inputs, outgoing, np.empty_like(case.weights))


def read(folder: Path) -> Counts:
    """What both left."""
    counts: Counts = defaultdict(dict)
    for file, line, times in _listed(folder):
        name, number = _place(file, line)
        counts[name][number] = counts[name].get(number, 0) + times
    return counts


def _listed(folder: Path) -> Iterator[tuple[Path, int, int]]:
    for data in sorted(folder.rglob("*.gcda")):
        printed = run("gcov", "--json-format", "--stdout", data.name, folder=data.parent)
        for report in printed.splitlines():
            for file in json.loads(report)["files"]:
                for line in file["lines"]:
                    yield Path(file["file"]), line["line_number"], line["count"]


def _place(file: Path, line: int) -> tuple[str, int]:
    """The build for the CPU has its headers one below the other, before the files."""
    if file.name == "kernels.cpp":
        for name in source.HEADERS["cpu"]:
            lines = source.header(name).count("\n")
            if line <= lines:
                return f"{name}.h", line
            line -= lines
    return file.name, line


def functions(path: Path) -> dict[str, range]:
    """The lines of each function of a kernel file, by its first line."""
    found, lines = {}, path.read_text().splitlines()
    for first, text in enumerate(lines):
        if _FUNCTION.match(text) or (_FUNCTION.match(text.partition("{")[0]) and text.endswith("}")):
            indent = text[: len(text) - len(text.lstrip())]
            one_line = text.endswith("}") and "{" in text
            last = first if one_line else next(i for i in range(first, len(lines)) if lines[i] == indent + "}")
            found[f"{path.name}:{first + 1} {text.strip()}"] = range(first + 1, last + 2)
    return found


if __name__ == "__main__":
    if sys.argv[1] == FLAT:
        run_flat(Path(sys.argv[2]))
    elif sys.argv[1] == COOPERATIVE:
        run_cooperative(Path(sys.argv[2]))
    else:
        for name, lines in sorted(count(Path(sys.argv[1]).resolve()).items()):
            if list(source.FOLDER.rglob(name)):
                missed = [number for number, times in sorted(lines.items()) if not times]
                print(f"{name:32}{len(lines):5} lines" + (f", not run: {missed}" if missed else ""))
