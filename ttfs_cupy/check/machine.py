"""What is installed, and the devices that there are."""

import ctypes
import importlib
import importlib.metadata
import re
from pathlib import Path

import numpy as np

from ttfs_cupy.check.report import Report, diagnosis
from ttfs_cupy.device import Device, cuda_trouble, get_device, import_cupy
from ttfs_cupy.device.compilation import nvrtc
from ttfs_cupy.device.libraries import cuda_libraries


def versions(report: Report) -> None:
    """The libraries that matter, as installed."""
    report.say("NumPy", np.__version__)
    names = ("torchvision", "torch", "safetensors", "psutil")
    report.say("libraries", ", ".join(f"{name} {_version(name)}" for name in names))


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def cuda_stack(report: Report) -> None:
    """CuPy and the CUDA libraries, which have to be of one CUDA version. Without a GPU, all works without them."""
    missing = cuda_libraries.missing_cupy()
    if missing:
        report.say("CuPy", missing)
        return
    compiler = nvrtc.version()  # first, since it knows what to say where CuPy is broken
    (found,) = map(" ".join, cuda_libraries.cupy_distributions() or [("cupy", import_cupy().__version__)])
    report.say("CuPy", f"{found}, CUDA runtime {_dotted(import_cupy().cuda.runtime.runtimeGetVersion())}")
    report.say("NVRTC", ".".join(map(str, compiler)))
    report.attempt(lambda: report.say("cuBLAS", _cublas_version()))
    paths = cuda_libraries.loaded()
    report.say("loaded", "\n".join(map(str, paths)) or "(this system does not tell from where)")
    wanted, majors = cuda_libraries.wanted_major(), cuda_libraries.installed_majors()
    if len(majors) > 1:
        both = " and ".join(map(str, sorted(majors)))
        report.say("", f"the libraries of CUDA {both} are installed (PyTorch brings its own); CuPy uses {compiler[0]}")
    if wanted not in (None, compiler[0]):
        report.problem(
            f"{found} was built for CUDA {wanted}, but NVRTC {compiler[0]} was loaded: "
            f"{cuda_libraries.how_to_install('nvrtc', 'runtime', 'cublas')}"
        )


def _cublas_version() -> str:
    importlib.import_module("cupy.cublas")  # loads the library, GPU or not
    for path in cuda_libraries.loaded():
        if path.name.startswith("libcublas.so"):
            library, parts = ctypes.CDLL(str(path)), (ctypes.c_int * 3)()
            for index in range(3):
                library.cublasGetProperty(index, ctypes.byref(parts, index * ctypes.sizeof(ctypes.c_int)))
            return ".".join(map(str, parts))
    return "loaded, version unknown"


def gpus(report: Report) -> None:
    """The driver, and each GPU; or why there is none to be used."""
    trouble = cuda_trouble()
    if trouble:
        report.say("GPU", f"none can be used: {trouble}")
        if "no NVIDIA driver" not in trouble:
            report.problem(cuda_libraries.cupy_trouble() or diagnosis(trouble))
        return
    runtime = import_cupy().cuda.runtime
    report.say("driver", f"{_driver()}, for CUDA up to {_dotted(runtime.driverGetVersion())}")
    for index in range(runtime.getDeviceCount()):
        properties = runtime.getDeviceProperties(index)
        capability = f"{properties['major']}.{properties['minor']}"
        name, memory = properties["name"].decode(), properties["totalGlobalMem"] / 2**30
        report.say(f"cuda:{index}", f"{name}, compute capability {capability}, {memory:.1f} GiB")


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _driver() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text()
    except OSError:
        return "version unknown"
    match = re.search(r"\b\d+\.\d+(\.\d+)?\b", text)
    return match[0] if match else "version unknown"


def chosen_device(report: Report, name: str) -> Device:
    """The device that the rest runs on. Raises UserError if it cannot be used."""
    device, reason = get_device(name)
    report.say("device", f"{device.name}: {device.description} ({reason})")
    return device
