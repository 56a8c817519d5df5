"""NCCL, which sums arrays over several GPUs, through CuPy; and why it cannot be used.

CuPy's wheels bundle no NCCL. cuda-pathfinder finds the one in nvidia/nccl/lib, the folder that the wheels
nvidia-nccl-cu12 and nvidia-nccl-cu13 both fill, one over the other; PyPI's torch brings the one for CUDA 13. NCCL has
its own copy of CUDA's runtime within, so that either serves a CuPy for CUDA 12, if the driver is new enough for it.
"""

import importlib
import importlib.metadata
import warnings
from contextlib import suppress
from types import ModuleType
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.libraries import cuda_libraries

# The versions of CUDA that there are wheels for
_MAJORS = (12, 13)

# From what on it can be recorded in a CUDA graph (NCCL's manual, "Using NCCL with CUDA Graphs")
RECORDABLE, RECORDABLE_DRIVER = 20900, 11030


def import_nccl(cupy: Any) -> ModuleType:
    """CuPy's binding of NCCL. Raises UserError where there is no NCCL, or none for this driver."""
    with warnings.catch_warnings():
        # CuPy warns where the sentence below says it
        warnings.simplefilter("ignore")
        nccl = importlib.import_module("cupy.cuda.nccl")
    trouble = _trouble(nccl, cupy.cuda.runtime.driverGetVersion())
    if trouble:
        raise UserError(trouble)
    return nccl


def _trouble(nccl: Any, driver: int) -> str | None:
    if not nccl.available:
        return f"NCCL, which connects GPUs, is not installed: {cuda_libraries.how_to_install('nccl')}"
    wheels = _wheels()
    if len(wheels) == 1 and wheels[0] > driver // 1000:
        return (
            f"the installed NCCL, nvidia-nccl-cu{wheels[0]}, is for CUDA {wheels[0]}, and this driver knows CUDA up to "
            f"{driver // 1000}.{driver % 1000 // 10}: pip uninstall nvidia-nccl-cu{wheels[0]}, then "
            f"{cuda_libraries.how_to_install('nccl')}"
        )
    return None


def _wheels() -> list[int]:
    """The versions of CUDA whose NCCL is installed as a wheel."""
    found = []
    for major in _MAJORS:
        with suppress(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(f"nvidia-nccl-cu{major}")
            found.append(major)
    return found


def is_recordable(version: int, driver: int) -> bool:
    """Whether that NCCL's calls can be recorded in CUDA graphs with that driver. Both numbers as their libraries give
    them, such as 22501 and 12080."""
    return version >= RECORDABLE and driver >= RECORDABLE_DRIVER
