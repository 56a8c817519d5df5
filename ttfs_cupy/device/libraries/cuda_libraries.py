"""Which CUDA the installed CuPy was built for, and what that means: the wheels to install, the libraries to load.

Gives cupy-cuda12x the CUDA 12 libraries that it was built for: PyPI's torch brings CUDA 13's libraries into the same
environment. cuda-pathfinder, which CuPy asks, prefers those, even where CUDA 12's are loaded as well, and CuPy built
for CUDA 12 then fails or compiles for a newer driver. So the CUDA 12 wheels' own libraries are loaded by path, and
while CuPy is bound to its libraries, pathfinder's answer is these: whichever of torch and CuPy is imported first.
"""

import ctypes
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# In the order of their dependence on each other: what pathfinder calls it, folder below the nvidia package, and file.
_LIBRARIES = (
    ("cudart", "cuda_runtime", "libcudart.so.12"),
    ("nvrtc", "cuda_nvrtc", "libnvrtc.so.12"),
    ("cublasLt", "cublas", "libcublasLt.so.12"),
    ("cublas", "cublas", "libcublas.so.12"),
)

# The distributions that install the folder cupy/, each over the other
_CUPYS = ("cupy-cuda12x", "cupy-cuda13x", "cupy")

# Which to name where there is no CuPy: drivers for CUDA 13 run it, too.
_DEFAULT_MAJOR = 12

# The oldest driver for each version of CUDA, by NVIDIA's table of minor version compatibility
_OLDEST_DRIVERS = {12: 525, 13: 580}


def preload() -> dict[str, Path]:
    """Loads what is installed of the CUDA 12 wheels; the paths by pathfinder's names for the libraries.

    Nothing where CuPy is not cupy-cuda12x.
    """
    if wanted_major() != 12:
        return {}
    paths = {}
    for name, folder, file in _LIBRARIES:
        path = _find(folder, file)
        if path is None:
            continue
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            # a damaged wheel: CuPy's own search may still find a system-wide toolkit, and names what is missing
            continue
        paths[name] = path
    return paths


@contextmanager
def found_by_cupy(paths: dict[str, Path]) -> Iterator[None]:
    """Within it, cuda-pathfinder answers with those libraries; others in the process are served as ever afterwards."""
    if not paths:
        yield
        return
    from cuda import pathfinder

    original = pathfinder.load_nvidia_dynamic_lib

    def answer(name: str) -> Any:
        if name not in paths:
            return original(name)
        handle = ctypes.CDLL(str(paths[name]))._handle
        return pathfinder.LoadedDL(str(paths[name]), True, handle, "site-packages")

    pathfinder.load_nvidia_dynamic_lib = answer
    try:
        yield
    finally:
        pathfinder.load_nvidia_dynamic_lib = original


def cupy_distributions() -> list[tuple[str, str]]:
    """Name and version of each installed CuPy, such as ("cupy-cuda12x", "14.2.0"). Only one can be whole."""
    found = []
    for name in _CUPYS:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append((name, importlib.metadata.version(name)))
    return found


def wanted_major() -> int | None:
    """The CUDA version that the installed CuPy was built for, as far as its name tells."""
    for name, _ in cupy_distributions():
        match = re.search(r"cuda(\d+)", name)
        if match:
            return int(match[1])
    return None


def how_to_install(*parts: str) -> str:
    """The command that installs these of cupy, nvrtc, runtime, cublas, nccl, for the installed CuPy's CUDA version."""
    major = wanted_major() or _DEFAULT_MAJOR
    wheels = []
    for part in parts:
        if part == "cupy":
            wheels.append(f"cupy-cuda{major}x")
        elif part == "nccl":
            wheels.append(f"nvidia-nccl-cu{major}")
        else:
            name = "nvidia-cublas" if part == "cublas" else f"nvidia-cuda-{part}"
            # those of CUDA 12 have it in their names, later ones as their own version
            wheels.append(f"{name}-cu12" if major == 12 else f"'{name}=={major}.*'")
    return f"pip install {' '.join(wheels)}"


def driver_needed() -> str:
    """Which driver the installed CuPy needs."""
    major = wanted_major() or _DEFAULT_MAJOR
    oldest = _OLDEST_DRIVERS.get(major)
    return f"one that knows CUDA {major}" + (f" ({oldest} or later)" if oldest else "")


def missing_cupy() -> str | None:
    """What to say where CuPy is not installed, with what would install it; None where it is."""
    if importlib.util.find_spec("cupy") is not None:
        return None
    return f"CuPy is not installed: {how_to_install('cupy', 'nvrtc', 'runtime', 'cublas')}"


def cupy_trouble() -> str | None:
    """Why CuPy must not be imported, with the remedy: there is none, or two in one folder; None where all is well."""
    names = [name for name, _ in cupy_distributions()]
    if len(names) < 2:
        return missing_cupy()
    return (
        f"{' and '.join(names)} are both installed, and the later one lies over the other in the folder cupy/: "
        f"pip uninstall {' '.join(names)}, then pip install one of them"
    )


def installed_majors() -> set[int]:
    """The CUDA versions whose runtime compiler is installed as a wheel."""
    return {
        int(distribution.version.partition(".")[0])
        for distribution in importlib.metadata.distributions()
        if re.fullmatch(r"nvidia[-_]cuda[-_]nvrtc([-_]cu\d+)?", distribution.name or "")
    }


def loaded() -> list[Path]:
    """The libraries of CUDA's toolkit in this process, whoever loaded them (empty where /proc does not tell)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    paths = {Path(line.split(maxsplit=5)[-1]) for line in lines}
    return sorted(path for path in paths if re.match(r"lib(cudart|nvrtc|cublas|cublasLt)\.so", path.name))


def _find(folder: str, file: str) -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    for base in (spec.submodule_search_locations if spec else None) or ():
        path = Path(base, folder, "lib", file)
        if path.exists():
            return path
    return None
