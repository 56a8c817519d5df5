"""What a launch reports: counters and bank conflicts by the kernel's lines, or the error that it ended with."""

import ctypes
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


class Outcome(ctypes.Structure):
    """As runtime/outcome.h lays it out."""

    _fields_ = (
        ("error", ctypes.c_char * 32),
        ("message", ctypes.c_char * 480),
        ("site", ctypes.c_uint32),
        ("other_site", ctypes.c_uint32),
        ("block", ctypes.c_int32 * 3),
        ("thread", ctypes.c_int32),
        ("barriers", ctypes.c_uint64),
        ("shared_accesses", ctypes.c_uint64),
        ("global_accesses", ctypes.c_uint64),
        ("copies", ctypes.c_uint64),
        ("halves_products", ctypes.c_uint64),
        ("tf32_products", ctypes.c_uint64),
        ("group_products", ctypes.c_uint64),
    )


class Instruction(ctypes.Structure):
    """As runtime/banks.h lays it out."""

    _fields_ = (
        ("site", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("accesses", ctypes.c_uint64),
        ("extra_wavefronts", ctypes.c_uint64),
        ("global_accesses", ctypes.c_uint64),
        ("sectors", ctypes.c_uint64),
        ("fewest_sectors", ctypes.c_uint64),
    )


class KernelError(Exception):
    """What a kernel does wrong: the name of the error, the line of its file, the block and the thread."""

    def __init__(self, name: str, what: str, file: str, line: int, block: tuple[int, ...], thread: int) -> None:
        super().__init__(f"{name} at {file}:{line}, block {block}, thread {thread}: {what}")
        self.name, self.file, self.line, self.block, self.thread = name, file, line, block, thread


@dataclass(frozen=True)
class BankUse:
    """Of the shared accesses of one line: those of a whole warp, and the wavefronts beyond the fewest they can take."""

    accesses: int
    extra_wavefronts: int


@dataclass(frozen=True)
class SectorUse:
    """Of the global accesses of one line: those of a whole warp, the sectors of 32 bytes that they fetch or write, and
    how many these had to be, had the lanes' bytes been neighbours. Asynchronous copies and atomics do not count."""

    accesses: int
    sectors: int
    fewest_sectors: int


@dataclass(frozen=True)
class Report:
    """What a launch did. Accesses are counted by thread; copies are asynchronous ones.

    Products are those of a warp, group_products those of a warpgroup (64 x 64 x 16), whose reads are not counted.
    """

    barriers: int
    shared_accesses: int
    global_accesses: int
    copies: int
    halves_products: int
    tf32_products: int
    group_products: int
    library: Path
    file_name: str
    instructions: tuple[tuple[int, ...], ...]

    @cached_property
    def bank_conflicts(self) -> dict[int, BankUse]:
        """By line of the kernel's file, the lines that access shared memory."""
        return {line: BankUse(*used[:2]) for line, used in self._used.items() if used[0]}

    @cached_property
    def sectors(self) -> dict[int, SectorUse]:
        """By line of the kernel's file, the lines that access global memory."""
        return {line: SectorUse(*used[2:]) for line, used in self._used.items() if used[2]}

    @cached_property
    def _used(self) -> dict[int, list[int]]:
        """The counters of each line, in the order of the file."""
        found: dict[int, list[int]] = {}
        places = source_lines(self.library, self.file_name, [site for site, *_ in self.instructions])
        for (_, line), (_, *counters) in zip(places, self.instructions, strict=True):
            found[line] = [sum(pair) for pair in zip(found.get(line, [0] * 5), counters, strict=True)]
        return dict(sorted(found.items()))


def source_lines(library: Path, file_name: str, sites: Sequence[int]) -> list[tuple[str, int]]:
    """The file and line of each site: of what was inlined there, the innermost that is in the kernel's own file."""
    if not sites:
        return []
    command = ["addr2line", "--inlines", "--addresses", "--exe", str(library), *map(hex, sites)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # each address, then a line of each function from the innermost outwards
    places = []
    for lines in re.split(r"^0x[0-9a-f]+\n", printed, flags=re.MULTILINE)[1:]:
        frames = re.findall(r"^(?:.*/)?([^/\n]+):(\d+|\?)", lines, re.MULTILINE)
        own = [frame for frame in frames if frame[0] == Path(file_name).name]
        file, line = (own or frames)[0]
        places.append((file, int(line) if line.isdecimal() else 0))
    return places


def raise_error(outcome: Outcome, library: Path, file_name: str) -> None:
    """Raises what the launch ended with."""
    (file, line), (other_file, other_line) = source_lines(library, file_name, [outcome.site, outcome.other_site])
    what = outcome.message.decode().replace("{other}", f"{other_file}:{other_line}")
    raise KernelError(outcome.error.decode(), what, file, line, tuple(outcome.block), outcome.thread)
