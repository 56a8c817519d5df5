"""A C compiler, and the programs that it makes of an export's files."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.device.compilation.cpu_library import environment_of, run_compiler

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion")
# The first that work here; where none do, programs are built without.
SANITIZERS = (
    ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    ("-fsanitize=undefined", "-fno-sanitize-recover=all"),
)
_TRIAL = '#include <stdio.h>\nint main(void) { return puts("works") < 0; }\n'


class BuildError(Exception):
    """A compiler refuses what it was given: its first error."""


@dataclass(frozen=True)
class Compiler:
    """command calls it; sanitizers are the flags for what it can have programs look for."""

    command: tuple[str, ...]
    sanitizers: tuple[str, ...]

    def __str__(self) -> str:
        name = " ".join(Path(part).name for part in self.command)
        if not self.sanitizers:
            return name
        return f"{name} with {self.sanitizers[0]}"

    def build(self, sources: Sequence[Path], program: Path, includes: Path | None = None) -> Path:
        """Warnings are errors. includes: a folder whose files they may include. Raises BuildError."""
        program.unlink(missing_ok=True)  # of a compiler that makes nothing, none is left to run
        folders = [] if includes is None else ["-I", str(includes)]
        arguments = [*STRICT, *self.sanitizers, *folders, *map(str, sources), "-o", str(program)]
        status, said = run_compiler([*self.command, *arguments], environment_of(program.parent))
        if status:
            lines = said.strip().splitlines()
            raise BuildError(next((line for line in lines if "error" in line), "it says nothing"))
        return program


def find_compiler(scratch: Path) -> Compiler | None:
    """$CC, then cc, gcc, clang, then the ziglang wheel: the first that builds a program which runs. scratch: a folder
    in which it may."""
    for command in _commands():
        if _works(command, (), scratch):
            sanitizers = next((flags for flags in SANITIZERS if _works(command, flags, scratch)), ())
            return Compiler(command, sanitizers)
    return None


def _commands() -> list[tuple[str, ...]]:
    wanted = os.environ.get("CC", "").split()
    found = [tuple(wanted)] if wanted else []
    found += [(path,) for name in ("cc", "gcc", "clang") if (path := shutil.which(name))]
    if importlib.util.find_spec("ziglang"):
        found.append((sys.executable, "-m", "ziglang", "cc"))
    return found


def _works(command: tuple[str, ...], sanitizers: tuple[str, ...], scratch: Path) -> bool:
    source = scratch / "trial.c"
    source.write_text(_TRIAL)
    try:
        program = Compiler(command, sanitizers).build([source], scratch / "trial")
        return run(program) == b"works\n"
    except (OSError, BuildError, ProgramError):
        return False


class ProgramError(Exception):
    """A program that was built ends as it should not: what it says of it."""


def run(program: Path, *arguments: str, given: bytes = b"") -> bytes:
    """What a program prints. given: its standard input. Raises ProgramError."""
    ended = subprocess.run([program, *arguments], input=given, capture_output=True, check=False)
    if ended.returncode or ended.stderr:
        lines = ended.stderr.decode(errors="replace").strip().splitlines()
        said = next((line for line in lines if "rror" in line), f"it ends with code {ended.returncode}")
        raise ProgramError(said)
    return ended.stdout
