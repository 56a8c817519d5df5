"""Everything that this device runs, compiled in parallel and loaded: does it build here, and does anything spill?"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from ttfs_cupy import device as devices
from ttfs_cupy.check.deep.listing import variants_of
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.errors import UserError
from ttfs_cupy.kernel_checks.variants import variants
from ttfs_cupy.kernels import nvrtc
from ttfs_cupy.kernels.source import Variant

# What a CPU compiles for, to see that NVRTC does: H100
ARCHITECTURE_ON_A_CPU = 90

# Processes, each of which holds a part of the GPU's memory.
MOST_PROCESSES = 12
MOST_FAILURES = 8


@dataclass(frozen=True)
class Registers:
    """Of a thread. spills: bytes that it stores for want of registers."""

    kernel: str
    architecture: int
    registers: int
    spills: int


@dataclass(frozen=True)
class Loaded:
    """Variants of cooperative kernels, compiled and loaded, by kernel."""

    kernel: str
    variants: int
    most_registers: int


@dataclass(frozen=True)
class Compiled:
    what: str
    count: int
    seconds: float


def run(notes: Notes, name: str) -> None:
    device, _ = devices.get(name)
    gpu = device.gpu
    architecture = 10 * gpu.capability[0] + gpu.capability[1] if gpu is not None else ARCHITECTURE_ON_A_CPU
    if gpu is not None:
        build(notes, architecture, {})
        processes = min(MOST_PROCESSES, devices.available_cores())
        return load(notes, variants_of(device), partial(registers, name), processes)
    try:
        nvrtc.version()
    except UserError as error:
        return notes.found(f"nothing is compiled for GPUs: {error}")
    # of each cooperative kernel one: check compiles the others
    return build(notes, architecture, {variant.kernel: variant for variant in variants().values()})


def build(notes: Notes, architecture: int, named: dict[str, Variant]) -> None:
    """Every file of kernels, and those variants, by NVRTC alone."""
    start = time.monotonic()
    usages = [usage for cubin in nvrtc.compile_all((architecture,), named) for usage in cubin.usage]
    seconds = time.monotonic() - start
    for usage in usages:
        notes.record(Registers(usage.kernel, architecture, usage.registers, usage.spill_stores))
        if usage.spills:
            notes.attention(f"{usage.kernel} spills registers on sm_{architecture}")
    notes.record(Compiled("kernels", len(usages), seconds))
    notes.say(nvrtc.table(usages))
    notes.found(f"{len(usages)} kernels compiled for sm_{architecture} in {seconds:.1f} s")


def registers(name: str, variant: Variant) -> int:
    """Compiles and loads it, in a process of the pool; what is compiled stays in a cache for the stages to come."""
    return devices.get(name)[0].registers(variant)


def load(notes: Notes, wanted: Sequence[Variant], registers: Callable[[Variant], int], processes: int) -> None:
    """As far as the time goes."""
    start = time.monotonic()
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    jobs = {pool.submit(registers, variant): variant for variant in wanted}
    ended, missing = wait(jobs, timeout=max(1.0, notes.left - 3))
    # those that still run end with the stage
    pool.shutdown(wait=False, cancel_futures=True)
    seconds = time.monotonic() - start
    loaded: dict[str, list[int]] = {}
    failures: dict[str, None] = {}
    for job in ended:
        kernel, error = jobs[job].kernel, job.exception()
        if error is None:
            loaded.setdefault(kernel, []).append(job.result())
        else:
            failures[f"{kernel}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"] = None
            notes.say(f"{kernel} {jobs[job].constants}: {error}")
    for kernel, found in sorted(loaded.items()):
        notes.record(Loaded(kernel, len(found), max(found)))
    for failure in list(failures)[:MOST_FAILURES]:
        notes.attention(failure)
    if missing:
        notes.attention(f"out of time: {len(missing)} variants are not compiled")
    count = sum(map(len, loaded.values()))
    notes.record(Compiled("variants", count, seconds))
    notes.found(f"{count} of {len(wanted)} variants loaded in {seconds:.1f} s by {processes} processes")
