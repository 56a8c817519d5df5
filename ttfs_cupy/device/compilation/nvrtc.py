"""Compiles CUDA sources with NVRTC, which needs no GPU, and reads from the assembler's log what kernels take of one."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.libraries import cuda_libraries
from ttfs_cupy.device.libraries.cupy_library import import_cupy

# Compute capabilities times ten: Turing, A100, GeForce 30, GeForce 40 and L4, H100, B200, GeForce 50.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

# As CuPy compiles (it adds -ftz by itself), with the assembler's report.
OPTIONS = ("-std=c++17", "-ftz=true", "--ptxas-options=-v")

_ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<spill_stores>\d+) bytes spill stores, "
    r"(?P<spill_loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Usage:
    """What one kernel takes on one architecture: registers per thread; stack, spills and shared memory in bytes.

    kernel: its name, or what a variant of a cooperative kernel is called.
    """

    kernel: str
    architecture: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int

    @property
    def spills(self) -> bool:
        return bool(self.spill_stores or self.spill_loads)


def version() -> tuple[int, int]:
    """NVRTC's own. Raises UserError, with what to install, where CuPy or NVRTC cannot be loaded."""
    major, minor = _nvrtc().getVersion()
    return int(major), int(minor)


def supported() -> tuple[int, ...]:
    """The compute capabilities, times ten, that NVRTC compiles for."""
    return tuple(sorted(map(int, _nvrtc().getSupportedArchs())))


def compile_text(text: str, name: str, architecture: int | str) -> tuple[bytes, str]:
    """The cubin of a CUDA source, and the compiler's log. Raises UserError with the first message if it fails.

    architecture: what follows sm_, 90 or 90a.
    """
    nvrtc = _nvrtc()
    program = nvrtc.createProgram(text, name, (), ())
    try:
        nvrtc.compileProgram(program, (f"--gpu-architecture=sm_{architecture}", *OPTIONS))
        # CuPy takes the code for a text and cuts off the last byte, a zero
        return nvrtc.getCUBIN(program) + b"\0", nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError as error:
        lines = nvrtc.getProgramLog(program).strip("\0 \n").splitlines() or [str(error)]
        first = next((line for line in lines if "error" in line), lines[0])
        raise UserError(f"NVRTC cannot compile {name} for sm_{architecture}: {first}") from error
    finally:
        nvrtc.destroyProgram(program)


def read_log(log: str, architecture: int) -> tuple[Usage, ...]:
    """What the assembler's verbose log says of each kernel, by name."""
    found = []
    for entry in _ENTRY.finditer(log):
        shared = _SHARED.search(entry["rest"])
        sizes = {field: int(entry[field]) for field in ("registers", "stack", "spill_stores", "spill_loads")}
        sizes["shared"] = int(shared[1]) if shared else 0
        found.append(Usage(entry["kernel"], architecture, **sizes))
    return tuple(sorted(found, key=lambda usage: usage.kernel))


def table(usages: Iterable[Usage]) -> str:
    """Registers per thread, a row for each kernel and a column for each architecture; spills are marked with !.

    Variants come after the kernels, in the order of the usages.
    """
    cells = {(usage.kernel, usage.architecture): usage for usage in usages}
    columns = sorted({architecture for _, architecture in cells})
    kernels = list(dict.fromkeys([*source.kernels("cuda"), *(kernel for kernel, _ in cells)]))
    width = max(28, 2 + max(map(len, kernels)))
    rows = ["registers".ljust(width) + "".join(f"{f'sm_{architecture}':>8}" for architecture in columns)]
    for kernel in kernels:
        numbers = ""
        for architecture in columns:
            usage = cells.get((kernel, architecture))
            numbers += f"{'-' if usage is None else f'{usage.registers}' + '!' * usage.spills:>8}"
        rows.append(f"{kernel:{width}}{numbers}")
    return "\n".join(rows)


@cache
def _nvrtc() -> ModuleType:
    """CuPy's binding of NVRTC, loaded and answering."""
    try:
        import_cupy()
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except UserError:
        raise
    except ImportError as error:
        remedy = cuda_libraries.how_to_install("cupy")
        raise UserError(f"CuPy cannot be imported ({_first_line(error)}): {remedy}") from error
    except Exception as error:  # how a missing library shows is CuPy's own affair, and changes between its versions
        remedy = cuda_libraries.how_to_install("nvrtc")
        raise UserError(
            f"NVRTC, CUDA's run-time compiler, cannot be loaded ({_first_line(error)}): {remedy}"
        ) from error
    return nvrtc


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
