"""Compiles a kernel file, together with the runtime, into a shared library, and keeps both in a cache."""

import hashlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from ttfs_cupy.device.compilation import source

FOLDER = Path(__file__).parent
RUNTIME = FOLDER / "runtime"

# Bytes after each __shared__ array that belong to none, so that a step beyond it is seen.
_GAP = 256

# CUDA's compiler does not reason from the types of pointers either. A call that were jumped to, not made, would hide
# the kernel's line from the runtime; addr2line takes the lines after #line in DWARF 5 for the outer file's.
# What is unique is shared by all libraries of a process. A fiber's stack has 64 KiB.
_KERNEL_FLAGS = (
    "-O1",
    "-g1",
    "-gdwarf-4",
    "-std=c++17",
    "-fPIC",
    "-fno-exceptions",
    "-fno-strict-aliasing",
    "-fno-math-errno",
    "-fno-optimize-sibling-calls",
    "-fno-gnu-unique",
    "-Werror=frame-larger-than=49152",
)
# Instead of reporting accesses to memory: counts how often each line runs, as gcov reads it.
_REPORTS_ACCESSES = ("-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0")
_COUNTS_LINES = ("--coverage", "-fkeep-static-functions", "-O0")
_RUNTIME_FLAGS = (
    "-O3",
    "-std=c++17",
    "-march=x86-64-v2",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-strict-aliasing",
)


class BuildError(Exception):
    """A kernel that does not compile; the message is the compiler's."""


def why_not() -> str | None:
    """Why this machine cannot emulate, or None if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the emulator switches fibers on Linux and x86-64 only"
    missing = [tool for tool in ("g++", "nm", "addr2line") if not shutil.which(tool)]
    return f"the emulator needs {' and '.join(missing)}" if missing else None


def kernel_library(
    text: str,
    kernels: Sequence[source.Kernel],
    constants: Mapping[str, object],
    file_name: str,
    folder: Path,
    coverage: Path | None = None,
) -> Path:
    """The library of one kernel file, from the cache or built now. Raises BuildError.

    coverage: where its lines are counted, one .gcno and .gcda for each library; accesses are then not watched.
    """
    code = _translation_unit(text, kernels, constants, file_name)
    runtime = _cached(folder, "runtime.o", [_runtime_text(), *_RUNTIME_FLAGS], _compile_runtime)
    flags, linked = [*_KERNEL_FLAGS, *_REPORTS_ACCESSES], []
    if coverage is not None:
        name = hashlib.sha256(code.encode()).hexdigest()[:20]
        flags, linked = [*_KERNEL_FLAGS, *_COUNTS_LINES, "-dumpdir", f"{coverage / name}-"], ["--coverage"]

    def build(target: Path) -> None:
        cpp, assembly = target.with_suffix(".cpp"), target.with_suffix(".s")
        cpp.write_text(code)
        _run("g++", *flags, "-S", str(cpp), "-o", str(assembly))
        assembly.write_text(_with_gaps(assembly.read_text()))
        # without -fsanitize: the runtime is what the hooks call
        _run("g++", "-shared", "-Wl,-Bsymbolic", *linked, "-o", str(target), str(assembly), str(runtime))

    return _cached(folder, "kernel.so", [code, runtime.name, str(_GAP), *flags], build)


def _with_gaps(assembly: str) -> str:
    """With a gap after each variable that a function declares, one of this file alone (.comm) or a weak one."""
    own = (
        r"\t.pushsection .bss\n\t.balign \3\n\t.type \1, @object\n\t.size \1, \2\n"
        rf"\1:\n\t.zero \2 + {_GAP}\n\t.popsection"
    )
    assembly = re.sub(r"^\t\.comm\t(_ZZ\w+),(\d+),(\d+)$", own, assembly, flags=re.MULTILINE)
    return re.sub(r"^(_ZZ\w+:\n\t\.zero\t\d+)$", rf"\1\n\t.zero {_GAP}", assembly, flags=re.MULTILINE)


def static_shared_arrays(library: Path) -> list[tuple[str, int, int]]:
    """Of each __shared__ array that a kernel declares: its name, where it lies in the library, and its bytes."""
    found = []
    for line in _run("nm", "--print-size", "--demangle", "--defined-only", str(library)).splitlines():
        at, size, kind, name = (*line.split(maxsplit=3), "", "", "")[:4]
        # a variable, not a constant, that one of the kernels' functions declares
        if kind in tuple("bBdDuVv") and "::" in name and not name.startswith("runtime::"):
            found.append((name.rsplit("::", 1)[1], int(at, 16), int(size, 16)))
    return found


def _translation_unit(
    text: str, kernels: Sequence[source.Kernel], constants: Mapping[str, object], file_name: str
) -> str:
    parts = [
        (RUNTIME / "shared_names.h").read_text(),
        _lines_of(FOLDER / "emulated_cuda.h"),
        *(_lines_of(source.FOLDER / f"{name}.h") for name in ("cuda", "common", "neuron")),
        *(_lines_of(FOLDER / f"emulated_{name}.h") for name in ("warp", "warpgroup")),
        *(f"#define {name} {int(value) if isinstance(value, bool) else value}" for name, value in constants.items()),
        f'#line 1 "{file_name}"\n{text}',
        *(_entry(kernel) for kernel in kernels),
    ]
    return "\n".join(parts) + "\n"


def _lines_of(file: Path) -> str:
    return f'#line 1 "{file.name}"\n{file.read_text()}'


def _entry(kernel: source.Kernel) -> str:
    """A function that calls the kernel with arguments of 8 bytes each."""
    arguments = ", ".join(
        f"*({'const ' if p.is_const and p.is_pointer else ''}{p.c_type}{'*' if p.is_pointer else ''}*)"
        f"(arguments + {8 * i})"
        for i, p in enumerate(kernel.parameters)
    )
    return (
        f'extern "C" __attribute__((no_sanitize_thread)) void emulated_entry_{kernel.name}(char* arguments) '
        f"{{ {kernel.name}({arguments}); }}"
    )


@cache
def _runtime_text() -> str:
    return "".join(path.read_text() for path in sorted(RUNTIME.iterdir()))


def _compile_runtime(target: Path) -> None:
    _run("g++", *_RUNTIME_FLAGS, "-c", str(RUNTIME / "runtime.cpp"), "-o", str(target))


@cache
def _compiler_version() -> str:
    return _run("g++", "--version")


def _cached(folder: Path, name: str, key: Sequence[str], build: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256("\0".join([*key, _compiler_version()]).encode()).hexdigest()[:20]
    entry = folder / f"emulated-{digest}-{name}"
    if not entry.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as scratch:
            build(Path(scratch, name))
            Path(scratch, name).replace(entry)
    return entry


def _run(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BuildError(f"{command[0]}: {result.stderr.strip()}")
    return result.stdout
