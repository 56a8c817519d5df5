"""Everything that this device runs, compiled in parallel and loaded: does it build here, and does anything spill?"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.deep.stages.listing import variants_of
from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.device.compilation import cubins, nvrtc, source
from ttfs_cupy.device.compilation.cubins import Cubin
from ttfs_cupy.device.compilation.source import Unit

# What a CPU compiles for, to see that NVRTC does: H100
CAPABILITY_ON_A_CPU = (9, 0)

MOST_FAILURES = 8


@dataclass(frozen=True)
class Registers:
    """Of a thread. spills: bytes that it stores for want of registers. constants: those of a variant."""

    kernel: str
    constants: dict[str, int]
    registers: int
    spills: int


@dataclass(frozen=True)
class Compiled:
    """seconds: little, where all is in the cache. loaded: none on a CPU."""

    units: int
    seconds: float
    loaded: int
    seconds_of_loading: float


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    if device.gpu is not None:
        wanted, capability = variants_of(device), device.gpu.capability
    else:
        try:
            nvrtc.version()
        except UserError as error:
            return notes.found(f"nothing is compiled for GPUs: {error}")
        # of each cooperative kernel one: check compiles the others
        wanted, capability = list({each.kernel: each for each in variants().values()}.values()), CAPABILITY_ON_A_CPU
    start = time.monotonic()
    found = cubins.compile_ahead((variant.unit for variant in wanted), capability, progress=False)
    seconds = time.monotonic() - start
    spilling = _registers(notes, found)
    if spilling:
        notes.attention(f"{len(spilling)} kernels spill registers: {', '.join(dict.fromkeys(spilling))}")
    loaded = load(notes, device, found) if device.target == "cuda" else 0
    notes.record(Compiled(len(found), seconds, loaded, time.monotonic() - start - seconds))
    text = (
        f"{len(found)} units compiled for {capability[0]}.{capability[1]}, or taken from the cache, in {seconds:.1f} s"
    )
    return notes.found(f"{text}; {loaded} loaded" if device.target == "cuda" else text)


def _registers(notes: Notes, found: Mapping[Unit, Cubin]) -> list[str]:
    """Records what each kernel takes; returns the names of those that spill."""
    spilling = []
    for unit, cubin in found.items():
        for usage in cubin.usage:
            notes.record(Registers(usage.kernel, dict(unit.constants), usage.registers, usage.spill_stores))
            if usage.spills:
                spilling.append(usage.kernel)
    return spilling


def load(notes: Notes, device: Device, found: Mapping[Unit, Cubin]) -> int:
    """Each by itself; returns how many the driver takes."""
    failures = []
    for unit, cubin in found.items():
        kernels = [kernel.name for kernel in source.declared(source.text(unit.file), unit.file)]
        try:
            module = device.xp.RawModule(path=str(cubin.path))
            for kernel in kernels:
                module.get_function(kernel)
        except Exception as error:  # whatever one raises, the others are loaded
            failures.append(f"{unit}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    for failure in failures[:MOST_FAILURES]:
        notes.attention(failure)
    return len(found) - len(failures)
