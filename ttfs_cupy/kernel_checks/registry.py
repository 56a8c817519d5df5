"""The checks by the name of their kernel, and how they are run."""

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from ttfs_cupy import kernel_checks
from ttfs_cupy.device import Device
from ttfs_cupy.kernel_checks.bench import GUARD, Bench
from ttfs_cupy.kernels import source

CheckFunction = Callable[[Bench], None]

_registered: dict[str, "Check"] = {}


@dataclass(frozen=True)
class Check:
    """What a kernel is put through, and the largest error that it may show (see Bench.compare)."""

    kernel: str
    tolerance: float
    function: CheckFunction


@dataclass(frozen=True)
class Result:
    """How a kernel fared. digest identifies the bits of all that it wrote; problem says what is wrong, if anything."""

    kernel: str
    largest_error: float
    tolerance: float
    seconds: float
    passed: bool
    digest: str = ""
    problem: str = ""


def check(tolerance: float) -> Callable[[CheckFunction], CheckFunction]:
    """Registers a function as the check of the kernel that it is named after."""

    def register(function: CheckFunction) -> CheckFunction:
        name = function.__name__
        if name in _registered:
            raise ValueError(f"kernel {name} has two checks")
        _registered[name] = Check(name, tolerance, function)
        return function

    return register


@cache
def checks() -> dict[str, Check]:
    """Every check by its kernel's name: whatever the modules of this package register."""
    for module in pkgutil.iter_modules(kernel_checks.__path__):
        importlib.import_module(f"{kernel_checks.__name__}.{module.name}")
    return dict(_registered)


def run(device: Device, kernels: Iterable[str] | None = None, guard: int = GUARD) -> list[Result]:
    """Checks those kernels, all by default, on the device; never raises for a kernel that fails.

    guard: elements to either side of each array that have to stay untouched. 0 leaves that to a memory sanitizer.
    """
    return [_run_one(name, device, guard) for name in (source.kernels(device.target) if kernels is None else kernels)]


def _run_one(kernel: str, device: Device, guard: int) -> Result:
    chosen = checks().get(kernel)
    if chosen is None:
        return Result(kernel, float("inf"), 0.0, 0.0, passed=False, problem="no check is written for it")
    started = time.perf_counter()
    try:
        bench = Bench(source.kernels(device.target)[kernel], device, guard)
        chosen.function(bench)
    except Exception as error:  # whatever stops one kernel must not hide how the others fare
        seconds = time.perf_counter() - started
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Result(kernel, float("inf"), chosen.tolerance, seconds, passed=False, problem=problem)
    problems = list(bench.problems)
    if not bench.largest_error <= chosen.tolerance:
        problems.append(f"error {bench.largest_error:.1e} above {chosen.tolerance:.1e}")
    return Result(
        kernel,
        bench.largest_error,
        chosen.tolerance,
        time.perf_counter() - started,
        passed=not problems,
        digest=bench.digest,
        problem="; ".join(problems),
    )
