"""Reads the kernels' sources and the parameters that they declare."""

import re
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent

ELEMENT_TYPES: dict[str, np.dtype] = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "int": np.dtype(np.int32),
    "long long": np.dtype(np.int64),
    "signed char": np.dtype(np.int8),
    "unsigned char": np.dtype(np.uint8),
}

_KERNEL = re.compile(r"\bKERNEL\s+void\s+(\w+)\s*\(([^)]*)\)")
_PARAMETER = re.compile(r"(const\s+)?([a-z ]+?)\s*(\*)?\s*(?:__restrict__\s+)?(\w+)")


@dataclass(frozen=True)
class Parameter:
    """One declared parameter of a kernel: `const float* __restrict__ drive` or `int n`."""

    name: str
    c_type: str
    is_pointer: bool
    is_const: bool

    @cached_property
    def dtype(self) -> np.dtype:
        return ELEMENT_TYPES[self.c_type]

    @cached_property
    def is_integer(self) -> bool:
        return self.dtype.kind == "i"

    @cached_property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest value of an integer parameter."""
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)


@dataclass(frozen=True)
class Kernel:
    """A kernel, the file that holds it (its stem) and what it takes."""

    name: str
    file: str
    parameters: tuple[Parameter, ...]


def text(file: str) -> str:
    """The text of one kernel file, named without its ending."""
    return (FOLDER / f"{file}.cu").read_text()


def header(name: str) -> str:
    return (FOLDER / f"{name}.h").read_text()


def files() -> tuple[str, ...]:
    """The stems of all kernel files: the folder is the only list of them."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.cu")))


def cuda_text(file: str) -> str:
    """What NVRTC compiles for one kernel file."""
    return header("cuda") + header("common") + text(file)


@cache
def kernels() -> dict[str, Kernel]:
    """Every kernel by name. Raises ValueError where two share a name or a declared type is unknown."""
    found: dict[str, Kernel] = {}
    for file in files():
        for match in _KERNEL.finditer(text(file)):
            name, declared = match.groups()
            if name in found:
                raise ValueError(f"kernel {name} is declared in {found[name].file}.cu and in {file}.cu")
            found[name] = Kernel(name, file, tuple(_parameter(part, name) for part in declared.split(",")))
    return found


def _parameter(declared: str, kernel: str) -> Parameter:
    match = _PARAMETER.fullmatch(" ".join(declared.split()))
    if match is None or match.group(2) not in ELEMENT_TYPES:
        raise ValueError(f"kernel {kernel}: cannot read the parameter '{declared.strip()}'")
    const, c_type, star, name = match.groups()
    return Parameter(name, c_type, is_pointer=star is not None, is_const=const is not None)
