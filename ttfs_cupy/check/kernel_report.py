"""The kernels: built for the CPU, compiled for GPUs, and run against their references."""

import time

from ttfs_cupy.check.kernels import Result, check_kernels
from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.check.report import Report, remedy
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device
from ttfs_cupy.device.compilation import cpu_library, nvrtc, source
from ttfs_cupy.device.compilation.cubins import compile_all
from ttfs_cupy.device.libraries import cuda_libraries


def cpu_kernels(report: Report, *, needed: bool) -> bool:
    """The library of the kernels, and what compiler would build it; without a GPU nothing works without the library.
    Returns success."""
    started = time.perf_counter()
    try:
        cpu_library.load()
    except UserError as error:
        if needed:
            raise
        report.untested.append(f"the kernels for the CPU were not built ({error})")
        return False
    report.say("compiler", _compiler())
    seconds = time.perf_counter() - started
    report.say("kernels", f"{len(source.kernels())} built for the CPU, or taken from the cache, in {seconds:.1f} s")
    return True


def _compiler() -> str:
    try:
        return str(cpu_library.find_compiler())
    except UserError as error:
        return f"{error}; those in the cache were used"


def cubins(report: Report) -> str:
    """Compiles every kernel for every architecture, which needs no GPU; of those on tensor cores, the tiles that are
    chosen from, as output channels x pixels (or input channels), stages x taps. Returns the architectures' names,
    none of them where there is no CuPy."""
    missing = cuda_libraries.missing_cupy()
    if missing:
        report.untested.append(f"no kernel was compiled for GPUs, since {missing}")
        return ""
    started = time.perf_counter()
    usages = [usage for cubin in compile_all(variants=variants(), progress=True) for usage in cubin.usage]
    names = ", ".join(f"sm_{architecture}" for architecture in nvrtc.ARCHITECTURES)
    report.say("", f"built by NVRTC for {names}, or taken from the cache, in {time.perf_counter() - started:.1f} s")
    report.say("", nvrtc.table(usages))
    for usage in usages:
        if usage.spills:
            report.say("", f"{usage.kernel} spills registers on sm_{usage.architecture}, and is slower for it")
    return names


def run_kernels(report: Report, device: Device) -> list[Result]:
    """Every kernel against its reference, on the device."""
    results = check_kernels(device)
    rows = [f"{'against float64 in NumPy':28}{'error':>10}{'allowed':>10}{'seconds':>10}"]
    for result in results:
        numbers = f"{result.largest_error:>10.1e}{result.tolerance:>10.1e}{result.seconds:>10.2f}"
        rows.append(f"{result.kernel:28}{numbers}{'' if result.passed else '   FAILED: ' + result.problem}")
    report.say("results", "\n".join(rows))
    failed = [result for result in results if not result.passed]
    if failed:
        names = ", ".join(result.kernel for result in failed)
        action = remedy(failed[0].problem)
        if device.name == "cpu":
            action = "try another C++ compiler (CXX=clang++), and please report it, with all of this output"
        report.problem(f"wrong results on {device.name} from {names}: {action}")
    return results
