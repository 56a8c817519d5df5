"""Reads the kernels' sources and the parameters that they declare."""

import math
import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

# ttfs_cupy/kernels, which holds their text and nothing else
FOLDER = Path(__file__).parents[2] / "kernels"

ELEMENT_TYPES: dict[str, np.dtype] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "int": np.dtype(np.int32),
    "long long": np.dtype(np.int64),
    "signed char": np.dtype(np.int8),
    "unsigned char": np.dtype(np.uint8),
}

_KERNEL = re.compile(r"\bKERNEL\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)")
_PARAMETER = re.compile(r"(const\s+)?([a-z ]+?)\s*(\*)?\s*(?:__restrict__\s+)?(OPTIONAL\s+)?(\w+)")

# Files of kernels for both targets, and for the CPU alone: what a GPU leaves to cuBLAS.
SHARED, CPU_ONLY = ".cu", ".cpp"

# Kernels whose threads work together, for GPUs alone, lie in a folder of their own, by topic.
COOPERATIVE = "cooperative"

# What comes before a kernel file's text; of the CPU's also what its own files share with cooperative ones
_OF_BOTH = ("common", "neuron", "winograd", "philox", "instructions")
HEADERS = {
    "cuda": ("cuda", *_OF_BOTH),
    "cpu": ("cpu", *_OF_BOTH, "cross_entropy", "decide_update", "strips"),
}

_INCLUDE = re.compile(r'^#include "(\w+\.h)"\n', re.MULTILINE)


# The compile-time constants of a variant of a cooperative kernel, by name
Constants = tuple[tuple[str, int], ...]
NO_CONSTANTS: Constants = ()


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a kernel: `const float* __restrict__ drive` or `int n`; an optional one may be null."""

    name: str
    c_type: str
    is_pointer: bool
    is_const: bool
    is_optional: bool

    @cached_property
    def dtype(self) -> np.dtype:
        return ELEMENT_TYPES[self.c_type]

    @cached_property
    def is_integer(self) -> bool:
        return self.dtype.kind == "i"

    @cached_property
    def python_type(self) -> type:
        """What a scalar usually is when it is passed."""
        return int if self.is_integer else float

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The smallest and the largest value of a scalar parameter; a float may be infinite."""
        if not self.is_integer:
            return -math.inf, math.inf
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)


@dataclass(frozen=True)
class Kernel:
    """A kernel, the file that holds it (its stem) and what it takes."""

    name: str
    file: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Unit:
    """What is compiled by itself: a kernel file, named without its ending, with the constants of a variant."""

    file: str
    constants: Constants = NO_CONSTANTS

    @property
    def text(self) -> str:
        """What NVRTC compiles."""
        return cuda_text(self.file, self.constants)


@dataclass(frozen=True)
class Variant:
    """A cooperative kernel, compiled with these constants for blocks of so many threads."""

    kernel: str
    constants: Constants
    threads: int

    @property
    def unit(self) -> Unit:
        return Unit(kernels(COOPERATIVE)[self.kernel].file, self.constants)

    @property
    def needs_warpgroups(self) -> bool:
        return needs_warpgroups(self.constants)


def needs_warpgroups(constants: Constants) -> bool:
    """Of compute capability 9.0, by instructions that NVRTC knows for its target sm_90a alone."""
    return ("GROUPS", 1) in constants


def flat_units() -> list[Unit]:
    """Those of the flat kernels, which every GPU runs."""
    return [Unit(file) for file in files("cuda")]


def path(file: str) -> Path:
    """Where a kernel file lies, named without its ending."""
    flat = FOLDER / f"{file}{SHARED}"
    return flat if flat.exists() else _below(FOLDER / COOPERATIVE).get(flat.name, FOLDER / f"{file}{CPU_ONLY}")


def text(file: str) -> str:
    """The text of one kernel file, named without its ending."""
    return path(file).read_text()


def header(name: str) -> str:
    return (FOLDER / f"{name}.h").read_text()


def files(target: str = "cuda") -> tuple[str, ...]:
    """The stems of all kernel files of a target, cuda, cpu or cooperative: the folder is the only list of them."""
    if target == COOPERATIVE:
        return tuple(sorted(path.stem for path in _below(FOLDER / COOPERATIVE).values() if path.suffix == SHARED))
    endings = (SHARED, CPU_ONLY) if target == "cpu" else (SHARED,)
    return tuple(sorted(path.stem for path in FOLDER.iterdir() if path.suffix in endings))


def headers(target: str) -> str:
    """What comes before a kernel file's text, for cuda or cpu."""
    return "".join(header(name) for name in HEADERS[target])


def cuda_text(file: str, constants: Constants = NO_CONSTANTS) -> str:
    """What NVRTC compiles for one kernel file; constants are those of a variant of a cooperative kernel."""
    if FOLDER / COOPERATIVE not in path(file).parents:
        return headers("cuda") + text(file)
    parts = [header(name) for name in ("cuda", "common", "neuron", f"{COOPERATIVE}/warp")]
    return "".join([*parts, *(f"#define {name} {value}\n" for name, value in constants), cooperative_text(file)])


def cooperative_text(file: str) -> str:
    """A file of cooperative kernels with the headers that it includes; warp.h and what is before that come first."""
    headers = [_cooperative_header(name) for name in _INCLUDE.findall(text(file))]
    parts = [f'#line 1 "{header}"\n{header.read_text()}' for header in headers]
    # a blank line for each #include, so that the lines keep their numbers
    return "".join([*parts, f'#line 1 "{path(file)}"\n', _INCLUDE.sub("\n", text(file))])


def _cooperative_header(name: str) -> Path:
    """One of theirs, or one that they share with the CPU's kernels."""
    return _below(FOLDER / COOPERATIVE).get(name, FOLDER / name)


@cache
def _below(folder: Path) -> dict[str, Path]:
    """The files in a folder and below it, by name. Looked up once: a text is asked for at every look at the cache."""
    return {path.name: path for path in folder.rglob("*")}


@cache
def kernels(target: str = "cpu") -> dict[str, Kernel]:
    """Every kernel of a target by name. Raises ValueError where two share a name or a declared type is unknown."""
    found: dict[str, Kernel] = {}
    for file in files(target):
        for kernel in declared(text(file), file):
            if kernel.name in found:
                first = path(found[kernel.name].file).name
                raise ValueError(f"kernel {kernel.name} is declared in {first} and in {path(file).name}")
            found[kernel.name] = kernel
    return found


def declared(text: str, file: str) -> list[Kernel]:
    """The kernels that a text declares; file is what it is called. Raises ValueError where a type is unknown."""
    return [
        Kernel(name, file, tuple(_parameter(part, name) for part in parameters.split(",")))
        for name, parameters in _KERNEL.findall(text)
    ]


def _parameter(declared: str, kernel: str) -> Parameter:
    match = _PARAMETER.fullmatch(" ".join(declared.split()))
    if match is None or match.group(2) not in ELEMENT_TYPES:
        raise ValueError(f"kernel {kernel}: cannot read the parameter '{declared.strip()}'")
    const, c_type, star, optional, name = match.groups()
    return Parameter(name, c_type, star is not None, const is not None, optional is not None)
