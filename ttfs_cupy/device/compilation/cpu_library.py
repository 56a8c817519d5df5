"""Builds the kernels with a C++ compiler into a shared library, and keeps it in a cache.

The file's name carries the key (everything that the result depends on) and a digest of the content, so that a
truncated or altered entry is recognised before it is loaded, and two processes that build at once never see half of
one another's file.
"""

import ctypes
import hashlib
import importlib.util
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.compilation.cache import cache_folder

logger = logging.getLogger("ttfs_cupy")

FLAGS = (
    "-O3",
    "-std=c++17",
    "-fPIC",
    "-shared",
    "-fno-trapping-math",
    "-fno-math-errno",
    "-fno-exceptions",
    "-fno-rtti",
)


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: the command that calls it and the flags that only it needs."""

    command: tuple[str, ...]
    extra_flags: tuple[str, ...]
    version: str

    @property
    def flags(self) -> tuple[str, ...]:
        return FLAGS + self.extra_flags

    def __str__(self) -> str:
        return f"{' '.join(Path(part).name for part in self.command)} ({self.version})"


def find_compiler() -> Compiler:
    """$CXX, then c++, g++, clang++, then the ziglang wheel. Raises UserError if there is none."""
    wanted = os.environ.get("CXX", "").split()
    if wanted:
        return _probe(tuple(wanted)) or _no_compiler(f"CXX={' '.join(wanted)} does not run")
    for name in ("c++", "g++", "clang++"):
        path = shutil.which(name)
        compiler = _probe((path,)) if path else None
        if compiler:
            return compiler
    if importlib.util.find_spec("ziglang"):
        compiler = _probe((sys.executable, "-m", "ziglang", "c++"))
        if compiler:
            return compiler
    return _no_compiler("no C++ compiler was found")


def _no_compiler(reason: str) -> Compiler:
    raise UserError(
        f"{reason}, and the CPU needs one to build the kernels: install g++ or clang++, "
        "or the compiler that comes as a wheel: pip install 'ttfs-cupy[cpu]'"
    )


def _probe(command: tuple[str, ...]) -> Compiler | None:
    try:
        result = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    version = result.stdout.splitlines()[0] if result.stdout else "unknown version"
    if "ziglang" in command:
        # zig names its target itself, traps undefined behaviour unless told not to, and builds its own C++ library
        # unless told that none is needed.
        return Compiler(command, ("-mcpu=native", "-fno-sanitize=undefined", "-nostdlib++"), version)
    return Compiler(command, ("-march=native",), version)


def library_source() -> str:
    """One translation unit: each kernel file as the body of a struct, and a C function per kernel that calls it."""
    parts = [source.headers("cpu")]
    for file in source.files("cpu"):
        # The line directive makes the compiler's messages and the debugger name the real file.
        line = f'#line 1 "{source.path(file)}"'
        parts.append(f"struct {file}_kernels : WorkShare {{\n{line}\n{source.text(file)}\n}};\n")
    parts += [_entry(kernel) for kernel in source.kernels().values()]
    return "\n".join(parts)


def _entry(kernel: source.Kernel) -> str:
    declared = ", ".join(
        f"{'const ' if p.is_const else ''}{p.c_type}{'*' if p.is_pointer else ''} {p.name}" for p in kernel.parameters
    )
    names = ", ".join(p.name for p in kernel.parameters)
    return (
        f'extern "C" void ttfs_{kernel.name}(int worker_, int workers_, {declared}) {{\n'
        f"    {kernel.file}_kernels share; share.worker = worker_; share.workers = workers_;\n"
        f"    share.{kernel.name}({names});\n}}\n"
    )


def load(extra_flags: Sequence[str] = (), folder: Path | None = None) -> ctypes.CDLL:
    """The library of all kernels, from the cache (folder, else the user's) or built now. extra_flags go to the
    compiler last."""
    compiler = find_compiler()
    code = library_source()
    folder = folder or cache_folder()
    key = _key(code, compiler, extra_flags)
    for entry in sorted(folder.glob(f"kernels-{key}-*.so")):
        if entry.stem.endswith(_digest(entry)):
            return ctypes.CDLL(str(entry))
        entry.unlink(missing_ok=True)
    return ctypes.CDLL(str(_build(code, compiler, extra_flags, folder, key)))


def _key(code: str, compiler: Compiler, extra_flags: Sequence[str]) -> str:
    parts = [
        code,
        *compiler.command,
        *compiler.flags,
        *extra_flags,
        compiler.version,
        platform.machine(),
        _cpu_flags(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _cpu_flags() -> str:
    # -march=native makes a library that only this kind of CPU can run
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:20]


def _build(code: str, compiler: Compiler, extra_flags: Sequence[str], folder: Path, key: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
        cpp, library = Path(scratch, "kernels.cpp"), Path(scratch, "kernels.so")
        cpp.write_text(code)
        command = [*compiler.command, *compiler.flags, *extra_flags, "-o", str(library), str(cpp), "-lm"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise UserError(f"{compiler} could not build the kernels: {_first_error(result.stderr)}")
        entry = folder / f"kernels-{key}-{_digest(library)}.so"
        library.replace(entry)
    return entry


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1] if lines else "no message")
