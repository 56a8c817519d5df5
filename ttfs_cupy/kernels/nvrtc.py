"""Compiles the kernels for GPUs without one, and reads from the assembler's log what they take of a GPU.

CuPy compiles only for the device at hand. NVRTC itself needs none, so this shows on any machine that every kernel
builds for every architecture, and whether one spills registers.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from types import ModuleType

from ttfs_cupy import cuda_libraries
from ttfs_cupy import device as devices
from ttfs_cupy.errors import UserError
from ttfs_cupy.kernels import source
from ttfs_cupy.kernels.source import Variant

# Compute capabilities times ten: Turing, A100, GeForce 30, GeForce 40 and L4, H100, B200, GeForce 50.
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)

# As the launcher has CuPy compile them (CuPy itself adds -ftz), with the assembler's report.
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


@dataclass(frozen=True)
class Cubin:
    """One kernel file, or a variant of one, compiled for one architecture."""

    file: str
    architecture: int
    code: bytes
    usage: tuple[Usage, ...]


def version() -> tuple[int, int]:
    """NVRTC's own. Raises UserError, with what to install, where CuPy or NVRTC cannot be loaded."""
    major, minor = _nvrtc().getVersion()
    return int(major), int(minor)


@cache
def compile_file(file: str, architecture: int) -> Cubin:
    """Compiles one kernel file, named without its ending, for that architecture (90 is sm_90)."""
    code, log = compile_text(source.cuda_text(file), f"{file}.cu", architecture)
    return Cubin(file, architecture, code, read_log(log, architecture))


@cache
def compile_variant(variant: Variant, architecture: int) -> Cubin:
    """A cooperative kernel with its constants. Where it is never launched, as for 7.5, it compiles, too."""
    file = source.kernels(source.COOPERATIVE)[variant.kernel].file
    own = "a" if architecture == 90 and variant.needs_warpgroups else ""
    code, log = compile_text(source.cuda_text(file, variant.constants), f"{file}.cu", f"{architecture}{own}")
    return Cubin(file, architecture, code, read_log(log, architecture))


def compile_all(
    architectures: Iterable[int] = ARCHITECTURES, variants: Mapping[str, Variant] | None = None
) -> list[Cubin]:
    """Every kernel file, and those variants, for each of these architectures, on all cores.

    variants: by what their usage is to be called.
    """

    def compiled(what: tuple[str, Variant | None], architecture: int) -> Cubin:
        name, variant = what
        if variant is None:
            return compile_file(name, architecture)
        cubin = compile_variant(variant, architecture)
        own = (usage for usage in cubin.usage if usage.kernel == variant.kernel)
        return replace(cubin, usage=tuple(replace(usage, kernel=name) for usage in own))

    work: list[tuple[str, Variant | None]] = [(file, None) for file in source.files()]
    work += (variants or {}).items()
    _nvrtc()
    # NVRTC compiles in several threads at a time, without Python's lock
    with ThreadPoolExecutor(devices.available_cores()) as pool:
        return list(pool.map(lambda job: compiled(*job), product(work, architectures)))


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
        devices.import_cupy()
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
