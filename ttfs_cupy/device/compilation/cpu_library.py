"""Builds the kernels with a C++ compiler into a shared library, and keeps it in a cache.

The file's name carries the key (everything that the result depends on, but the compiler that was found) and a digest
of the content, so that a truncated or altered entry is recognised before it is loaded, and two processes that build at
once never see half of one another's file.

A library that is there needs no compiler: it is used where there is none, and also where the compiler was updated or
replaced since, so that results keep their bits. To have the kernels built by another compiler, name it by CXX, which is
a part of the key; or delete the library.
"""

import ctypes
import errno
import hashlib
import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.cache import cache_folder, can_be_written, places, user_cache
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.compilation.progress import announce

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
NATIVE = ("-march=native",)
# zig names its target itself, traps undefined behaviour unless told not to, and builds its own C++ library unless told
# that none is needed. Its notes for debuggers, which others write when asked, name the folder that it happened to be
# called in: without them the same kernels are the same file.
ZIG = ("-mcpu=native", "-fno-sanitize=undefined", "-nostdlib++", "-g0")

# A build that was killed leaves its folder; the next build that is so many seconds younger removes it.
ABANDONED = 3600
SCRATCH = "build-"

# Of a full disk, and of a user's full share of one; and what compilers say then
FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_SPACE = os.strerror(errno.ENOSPC)


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
    wanted = _wanted_compiler()
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


def _wanted_compiler() -> list[str]:
    return os.environ.get("CXX", "").split()


def _no_compiler(reason: str) -> Compiler:
    raise UserError(
        f"{reason}, and the CPU needs one to build the kernels: install g++ or clang++, "
        "or the compiler that comes as a wheel: pip install 'ttfs-cupy[cpu]'"
    )


def _probe(command: tuple[str, ...]) -> Compiler | None:
    try:
        with tempfile.TemporaryDirectory() as scratch:
            result = subprocess.run(
                [*command, "--version"],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
                env=environment_of(Path(scratch)),
            )
    except (OSError, subprocess.SubprocessError):
        return None
    version = result.stdout.splitlines()[0] if result.stdout else "unknown version"
    return Compiler(command, ZIG if "ziglang" in command else NATIVE, version)


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
    """The library of all kernels, from the cache (folder, else the user's) or built now, which is told in a line.

    extra_flags go to the compiler last. Raises UserError where there is no compiler, it fails, or the disk is full.
    """
    code = library_source()
    key = _key(code, extra_flags)
    for place in places() if folder is None else (folder,):
        library = _found(place, key)
        if library is not None:
            return library
    entry = _build(code, find_compiler(), extra_flags, folder or cache_folder(), key)
    try:
        return ctypes.CDLL(str(entry))
    except OSError as error:
        raise UserError(
            f"the kernels that were built cannot be loaded ({error}): set TTFS_CUPY_CACHE to a folder from which "
            "programs may run"
        ) from error


def _found(folder: Path, key: str) -> ctypes.CDLL | None:
    """A sound entry of that folder. One that is not is removed, if it may be."""
    for entry in sorted(folder.glob(f"kernels-{key}-*.so")):
        # of a folder that somebody else has made, some files may be unreadable
        with suppress(OSError):
            if entry.stem.endswith(_digest(entry)):
                return ctypes.CDLL(str(entry))
            entry.unlink()
    return None


def _key(code: str, extra_flags: Sequence[str]) -> str:
    # where the package is installed does not matter
    text = code.replace(str(source.FOLDER), "")
    parts = [text, *FLAGS, *NATIVE, *ZIG, *extra_flags, *_wanted_compiler(), platform.machine(), _cpu_flags()]
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
    announce(f"building the kernels for this CPU with {compiler}: once, for some seconds")
    try:
        _remove_abandoned(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
            cpp, library = Path(scratch, "kernels.cpp"), Path(scratch, "kernels.so")
            cpp.write_text(code)
            command = [*compiler.command, *compiler.flags, *extra_flags, "-o", str(library), str(cpp), "-lm"]
            status, said = run_compiler(command, environment_of(Path(scratch)))
            if status and (_NO_SPACE in said or _is_full(folder)):
                raise OSError(errno.ENOSPC, _NO_SPACE)
            if status:
                raise UserError(f"{compiler} could not build the kernels: {_first_error(said)}")
            return _keep(library, folder, key)
    except OSError as error:
        advice = "free some MiB there, or set TTFS_CUPY_CACHE to a folder on another disk"
        reason = f"its disk is full: {advice}" if error.errno in FULL else error.strerror or str(error)
        raise UserError(f"the kernels cannot be built in {folder}: {reason}") from error


def run_compiler(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """A compiler's exit code, and what it says."""
    pipe = subprocess.PIPE
    # a session of its own: Ctrl-C is for us, and we end the compiler with all that it has started
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, errors="replace", env=environment, start_new_session=True
    ) as process:
        try:
            _, said = process.communicate()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, said


def environment_of(scratch: Path) -> dict[str, str]:
    """A compiler's temporary files go where its result goes, so that nothing of them stays, and one disk has to do."""
    variables = {**os.environ, "TMPDIR": str(scratch)}
    base = user_cache()
    if base is None or not can_be_written(base / "zig"):
        # zig keeps what it needs for any program; what it cannot keep there it makes for this build alone
        variables.setdefault("ZIG_GLOBAL_CACHE_DIR", str(scratch / "zig"))
    return variables


def _keep(library: Path, folder: Path, key: str) -> Path:
    """Moves a library into the cache."""
    digest = _digest(library)
    entry = folder / f"kernels-{key}-{digest}.so"
    try:
        return library.replace(entry)
    except PermissionError:
        # in a folder for all there is somebody else's file, which may be neither read nor replaced
        return library.replace(folder / f"kernels-{key}-{os.getuid()}-{digest}.so")


def _remove_abandoned(folder: Path) -> None:
    for scratch in folder.glob(f"{SCRATCH}*"):
        with suppress(OSError):
            if time.time() - scratch.stat().st_mtime > ABANDONED:
                shutil.rmtree(scratch)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < 1 << 20


def _first_error(stderr: str) -> str:
    lines = stderr.strip().splitlines()
    return next((line for line in lines if "error" in line), lines[-1] if lines else "no message")
