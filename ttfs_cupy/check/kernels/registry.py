"""The checks by the name of their kernel, and how they are run."""

import importlib
import pkgutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ttfs_cupy.check.kernels.kernel_trial import GUARD, KernelTrial
from ttfs_cupy.device import Device, initial_potential, reductions, standardization
from ttfs_cupy.device.compilation import source

CheckFunction = Callable[[KernelTrial], None]

_registered: dict[str, "Check"] = {}


@dataclass(frozen=True)
class Check:
    """What a kernel is put through, and the largest error that it may show (see KernelTrial.compare)."""

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
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
        importlib.import_module(module.name)
    return dict(_registered)


def check_kernels(device: Device, kernels: Iterable[str] | None = None, guard: int = GUARD) -> list[Result]:
    """Checks those kernels, by default all that the device has, on it; never raises for a kernel that fails.

    Of the cooperative ones these are the reductions; convolutions are checked as a whole (convolution/tuner.py).

    guard: elements to either side of each array that have to stay untouched. 0 leaves that to a memory sanitizer.
    """
    return [_run_one(name, device, guard) for name in (kernels_of(device) if kernels is None else kernels)]


def kernels_of(device: Device) -> list[str]:
    """What there is to check on it."""
    together = (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS)
    blocks = [variant.kernel for variant in together] if device.gpu is not None else []
    return [*source.kernels(device.target), *blocks]


def _run_one(kernel: str, device: Device, guard: int) -> Result:
    chosen = checks().get(kernel)
    if chosen is None:
        return Result(kernel, float("inf"), 0.0, 0.0, passed=False, problem="no check is written for it")
    started = time.perf_counter()
    try:
        flat, together = source.kernels(device.target), source.kernels(source.COOPERATIVE)
        trial = KernelTrial(flat[kernel] if kernel in flat else together[kernel], device, guard)
        chosen.function(trial)
    except Exception as error:  # whatever stops one kernel must not hide how the others fare
        seconds = time.perf_counter() - started
        problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Result(kernel, float("inf"), chosen.tolerance, seconds, passed=False, problem=problem)
    problems = list(trial.problems)
    if not trial.largest_error <= chosen.tolerance:
        problems.append(f"error {trial.largest_error:.1e} above {chosen.tolerance:.1e}")
    return Result(
        kernel,
        trial.largest_error,
        chosen.tolerance,
        time.perf_counter() - started,
        passed=not problems,
        digest=trial.digest,
        problem="; ".join(problems),
    )
