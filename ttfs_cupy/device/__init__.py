"""A device is this machine's CPU or one CUDA GPU: arrays, kernel launches, matrix products, parallel tasks."""

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.device.arrays import Array, Stack
from ttfs_cupy.device.cpu import PANEL, CpuDevice
from ttfs_cupy.device.cuda import CudaDevice
from ttfs_cupy.device.interface import Device
from ttfs_cupy.device.libraries.cupy_library import cuda_trouble, import_cupy

__all__ = [
    "NAMES",
    "PANEL",
    "Array",
    "CpuDevice",
    "CudaDevice",
    "Device",
    "Stack",
    "cuda_trouble",
    "get_device",
    "import_cupy",
]

# A pattern of what a device may be called.
NAMES = "auto|cpu|cuda(:[0-9]{1,4})?"


def get_device(name: str = "auto", threads: int | None = None) -> tuple[Device, str]:
    """The device of that name (auto, cuda, cuda:N or cpu) and why it is this one.

    threads: of a CPU; None for OMP_NUM_THREADS, else one for each core. More than there are cores are not made: they
    would slow each other down, and each has memory of its own. Where there are others than were asked for, the reason
    says so.
    Raises UserError for a name that is none of these, a GPU that is not there, or threads below 1.
    """
    if not isinstance(name, str):
        raise UserError(f"device must be auto, cuda, cuda:N or cpu, not {shown(name)}")
    if threads is not None:
        threads = check_count("threads", threads)
    if name == "cpu":
        return _cpu(threads, "asked for")
    if name == "auto":
        trouble = cuda_trouble()
        if trouble:
            return _cpu(threads, trouble)
        return CudaDevice(0), "a usable GPU was found"
    kind, _, number = name.partition(":")
    if kind != "cuda" or (name != "cuda" and not number.isdecimal()):
        raise UserError(f"device {shown(name)} is not known: use auto, cuda, cuda:N or cpu")
    index = int(number or 0)
    trouble = cuda_trouble(index)
    if trouble:
        raise UserError(f"device '{name}' cannot be used: {trouble}; device 'cpu' works everywhere")
    return CudaDevice(index), "asked for"


def _cpu(threads: int | None, reason: str) -> tuple[CpuDevice, str]:
    device = CpuDevice(threads)
    return device, f"{reason}; {device.threads_note}" if device.threads_note else reason
