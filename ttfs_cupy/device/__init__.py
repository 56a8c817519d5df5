"""A device is this machine's CPU or one CUDA GPU: arrays, kernel launches, matrix products, parallel tasks."""

from ttfs_cupy.device.cpu import PANEL, CpuDevice, available_cores
from ttfs_cupy.device.cuda import CudaDevice
from ttfs_cupy.device.cupy_library import cuda_trouble, import_cupy
from ttfs_cupy.device.interface import Array, Device, Stack
from ttfs_cupy.errors import UserError

__all__ = [
    "PANEL",
    "Array",
    "CpuDevice",
    "CudaDevice",
    "Device",
    "Stack",
    "available_cores",
    "cuda_trouble",
    "get",
    "import_cupy",
]


def get(name: str = "auto", threads: int | None = None) -> tuple[Device, str]:
    """The device of that name (auto, cuda, cuda:N or cpu) and why it is this one.

    Raises UserError for a name that is none of these, or a GPU that is not there.
    """
    if name == "cpu":
        return CpuDevice(threads), "asked for"
    if name == "auto":
        trouble = cuda_trouble()
        if trouble:
            return CpuDevice(threads), trouble
        return CudaDevice(0), "a usable GPU was found"
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not number.isdecimal()):
        raise UserError(f"device '{name}' is not known: use auto, cuda, cuda:N or cpu")
    index = int(number or 0)
    trouble = cuda_trouble(index)
    if trouble:
        raise UserError(f"device '{name}' cannot be used: {trouble}; device 'cpu' works everywhere")
    return CudaDevice(index), "asked for"
