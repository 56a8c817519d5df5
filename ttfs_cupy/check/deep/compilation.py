"""Everything that this device runs, compiled in parallel and loaded: does it build here, and does anything spill?"""

import time
from dataclasses import dataclass

from ttfs_cupy import device as devices
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.kernel_checks.variants import variants
from ttfs_cupy.kernels import nvrtc

# What a CPU compiles for, to see that NVRTC does: H100
ARCHITECTURE_ON_A_CPU = 90


@dataclass(frozen=True)
class Registers:
    """Of a thread. spills: bytes that it stores for want of registers."""

    kernel: str
    architecture: int
    registers: int
    spills: int


@dataclass(frozen=True)
class Compiled:
    kernels: int
    seconds: float


def run(notes: Notes, name: str) -> None:
    device, _ = devices.get(name)
    gpu = device.gpu
    architecture = 10 * gpu.capability[0] + gpu.capability[1] if gpu is not None else ARCHITECTURE_ON_A_CPU
    start = time.monotonic()
    usages = [usage for cubin in nvrtc.compile_all((architecture,), variants()) for usage in cubin.usage]
    for usage in usages:
        notes.record(Registers(usage.kernel, architecture, usage.registers, usage.spill_stores))
        if usage.spills:
            notes.attention(f"{usage.kernel} spills registers on sm_{architecture}")
    seconds = time.monotonic() - start
    notes.record(Compiled(len(usages), seconds))
    notes.say(nvrtc.table(usages))
    notes.found(f"{len(usages)} kernels compiled for sm_{architecture} in {seconds:.1f} s")
