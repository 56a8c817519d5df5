"""What a kernel's machine code (SASS) looks like: its loops, and what they are made of. Needs no GPU.

NVIDIA's disassembler comes as a wheel: pip install nvidia-cuda-nvdisasm.
"""

import importlib.metadata
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError

WHEEL = "nvidia-cuda-nvdisasm"

_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*);")
_TARGET = re.compile(r"\.L_x_\d+")

# Products on tensor cores: of a warp; and of a warpgroup with 64 channels, each of whose warps gets by it what 8 of the
# former give.
PRODUCTS = {"HMMA": 1, "HGMMA": 8}
# Asynchronous copies, and accesses to memory that a thread has for itself, as spills do.
ASYNCHRONOUS_COPY, LOCAL_MEMORY = "LDGSTS", ("LDL", "STL")


@dataclass(frozen=True)
class Loop:
    """The instructions from a label to the branch back to it, by their names without what follows a dot."""

    first: int
    last: int
    instructions: Counter[str]

    @property
    def size(self) -> int:
        return self.instructions.total()

    @property
    def products(self) -> int:
        return sum(self.instructions[name] for name in PRODUCTS)

    def share_of_products(self, waiting: str = "") -> float:
        """Among its instructions but those `waiting`; a product counts as, and adds, the HMMA that it stands for."""
        as_hmma = sum(times * self.instructions[name] for name, times in PRODUCTS.items())
        return as_hmma / (self.size - self.products + as_hmma - self.instructions[waiting])


@dataclass(frozen=True)
class Code:
    """A kernel's instructions, in their order."""

    instructions: Counter[str]
    loops: tuple[Loop, ...]

    @property
    def main_loop(self) -> Loop | None:
        """The innermost loop with the most products on tensor cores; None where there is none."""
        multiplying = [loop for loop in self.loops if loop.products]
        innermost = [
            loop
            for loop in multiplying
            if not any(loop.first <= other.first and other.last <= loop.last for other in multiplying if other != loop)
        ]
        return max(innermost, key=lambda loop: loop.products, default=None)

    @property
    def uses_local_memory(self) -> bool:
        return any(self.instructions[name] for name in LOCAL_MEMORY)


def disassembler() -> Path:
    """Raises UserError where there is none."""
    on_path = shutil.which("nvdisasm")
    if on_path:
        return Path(on_path)
    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nvdisasm":
            return Path(str(file.locate()))
    raise UserError(f"NVIDIA's disassembler is not installed: pip install {WHEEL}")


def disassemble(cubin: bytes) -> Code:
    """Of a cubin with one kernel. Raises what listing does."""
    return read(listing(cubin))


def listing(cubin: bytes) -> list[str]:
    """The disassembler's lines. Raises UserError where there is no disassembler, or where it refuses."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        result = subprocess.run([disassembler(), "-c", file.name], capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"nvdisasm cannot read the code: {result.stderr.strip().splitlines()[-1:]}")
    lines: list[str] = result.stdout.splitlines()
    return lines


def read(lines: Sequence[str]) -> Code:
    """A listing."""
    names: list[str] = []
    labels: dict[str, int] = {}
    branches: list[tuple[int, str]] = []
    for line in lines:
        label, instruction = _LABEL.match(line), _INSTRUCTION.match(line)
        if label:
            labels[label[1]] = len(names)
        elif instruction:
            target = _TARGET.search(instruction[2]) if instruction[1].startswith("BRA") else None
            if target:
                branches.append((len(names), target[0]))
            names.append(instruction[1].partition(".")[0])
    loops = tuple(
        Loop(labels[target], at, Counter(names[labels[target] : at + 1]))
        for at, target in branches
        if labels.get(target, len(names)) < at
    )
    return Code(Counter(names), loops)
