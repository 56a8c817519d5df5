"""One kernel file for the emulator, and its launches."""

import ctypes
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emulator.build import kernel_library, static_shared_arrays
from emulator.report import Instruction, Outcome, Report, raise_error
from ttfs_cupy.common.files.cache import cache_folder
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.launcher import checked_arguments

# What a block may ask for on an H100; and, of all kernels of a file, what the runtime has room for.
MAX_SHARED_BYTES, MAX_STATIC_SHARED_BYTES = 232448, 1 << 18
MAX_THREADS = 1024

# What arithmetic makes of inf - inf: on a kernel's float arrays the one becomes the other.
X86_NAN, NVIDIA_NAN = 0xFFC00000, 0x7FFFFFFF

_READ_ONLY, _WRITABLE, _STATIC_SHARED = range(3)


class _Array(ctypes.Structure):
    """As runtime/memory.h lays it out."""

    _fields_ = (
        ("begin", ctypes.c_size_t),
        ("end", ctypes.c_size_t),
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_int32),
        ("shadow", ctypes.c_uint32),
    )


class _Launch(ctypes.Structure):
    """As runtime/launch.h lays it out."""

    _fields_ = (
        ("entry", ctypes.c_void_p),
        ("arguments", ctypes.c_char_p),
        ("arrays", ctypes.POINTER(_Array)),
        ("array_count", ctypes.c_int32),
        ("grid", ctypes.c_int32 * 3),
        ("threads", ctypes.c_int32),
        ("shared_bytes", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("stacks", ctypes.c_size_t),
    )


class Emulator:
    """A kernel file, compiled for the emulator with compile-time constants.

    The text may use what cuda.h, common.h, neuron.h, and warp.h and warpgroup.h of cooperative/ define. Each constant
    becomes a #define before it; file_name is what errors call it. The library is kept in the folder `cache`, by default
    the user's.
    coverage: where gcov's counts of its lines go when the process ends; accesses to memory are then not watched.
    """

    # Shared by all, since one launch runs at a time.
    _mapped_stacks = 0

    def __init__(
        self,
        text: str,
        *,
        constants: Mapping[str, int | float | str] | None = None,
        file_name: str = "kernel.cu",
        cache: Path | None = None,
        coverage: Path | None = None,
    ) -> None:
        kernels = source.declared(text, Path(file_name).stem)
        self.kernels = {kernel.name: kernel for kernel in kernels}
        self.file_name = file_name
        self.path = kernel_library(text, kernels, constants or {}, file_name, cache or cache_folder(), coverage)
        # one launch at a time, also where Python has several threads: PyDLL keeps the interpreter's lock
        self._library = ctypes.PyDLL(str(self.path))
        self._library.emulator_launch.restype = None
        self._library.emulator_stacks.restype = ctypes.c_size_t
        self._library.emulator_base.restype = ctypes.c_size_t
        self._library.emulator_instructions.restype = ctypes.POINTER(Instruction)
        self._static_shared = self._locate_static_shared()

    def launch(
        self,
        kernel: str,
        blocks: int | tuple[int, int, int],
        threads: int,
        shared_bytes: int,
        *arguments: Any,
        seed: int = 0,
    ) -> Report:
        """Runs the grid; the arrays then hold what the kernel wrote. The seed draws the order of blocks and threads.

        An array is NumPy's, None for an OPTIONAL pointer. Raises KernelError where the kernel does something wrong,
        and what checked_arguments raises.
        """
        declared = self.kernels[kernel]
        grid = (blocks, 1, 1) if isinstance(blocks, int) else blocks
        if min(grid) < 1 or not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"no GPU runs blocks {grid} of {threads} threads")
        if not 0 <= shared_bytes <= MAX_SHARED_BYTES:
            raise ValueError(f"no GPU has {shared_bytes} bytes of shared memory for a block")
        checked = checked_arguments(declared, arguments, np.ndarray)
        arrays = [*self._static_shared, *_bounds(declared, checked)]
        launch = _Launch(
            entry=ctypes.cast(self._library[f"emulated_entry_{kernel}"], ctypes.c_void_p),
            arguments=_packed(declared, checked),
            arrays=(_Array * len(arrays))(*arrays),
            array_count=len(arrays),
            grid=grid,
            threads=threads,
            shared_bytes=shared_bytes,
            seed=seed,
            stacks=self._stacks(),
        )
        outcome = Outcome()
        self._library.emulator_launch(ctypes.byref(launch), ctypes.byref(outcome))
        if outcome.error:
            raise_error(outcome, self.path, self.file_name)
        for parameter, value in zip(declared.parameters, checked, strict=True):
            if parameter.c_type == "float" and parameter.is_pointer and not parameter.is_const and value is not None:
                bits = value.view(np.uint32)
                bits[bits == X86_NAN] = NVIDIA_NAN
        return self._report(outcome)

    def _stacks(self) -> int:
        if not Emulator._mapped_stacks:
            Emulator._mapped_stacks = self._library.emulator_stacks()
            if not Emulator._mapped_stacks:
                raise MemoryError(f"no memory for the stacks of {MAX_THREADS} threads")
        return Emulator._mapped_stacks

    def _locate_static_shared(self) -> list[_Array]:
        base, shadow, found = self._library.emulator_base(), MAX_SHARED_BYTES, []
        for name, at, size in static_shared_arrays(self.path):
            found.append(_Array(base + at, base + at + size, name.encode(), _STATIC_SHARED, shadow))
            shadow += (size + 15) // 16 * 16
        if shadow > MAX_SHARED_BYTES + MAX_STATIC_SHARED_BYTES:
            raise ValueError(
                f"{self.file_name} declares more than {MAX_STATIC_SHARED_BYTES} bytes of __shared__ arrays"
            )
        return found

    def _report(self, outcome: Outcome) -> Report:
        count = self._library.emulator_instruction_count()
        used = self._library.emulator_instructions()[:count] if count else []
        counters = (name for name, _ in Outcome._fields_[6:])
        return Report(
            **{name: getattr(outcome, name) for name in counters},
            library=self.path,
            file_name=self.file_name,
            instructions=tuple(
                (one.site, one.accesses, one.extra_wavefronts, one.global_accesses, one.sectors, one.fewest_sectors)
                for one in used
            ),
        )


def _bounds(kernel: source.Kernel, arguments: list[Any]) -> list[_Array]:
    return [
        _Array(
            value.ctypes.data,
            value.ctypes.data + value.nbytes,
            parameter.name.encode(),
            _READ_ONLY if parameter.is_const else _WRITABLE,
        )
        for parameter, value in zip(kernel.parameters, arguments, strict=True)
        if isinstance(value, np.ndarray)
    ]


def _packed(kernel: source.Kernel, arguments: list[Any]) -> bytes:
    """Each argument in 8 bytes; of an array, its address."""
    return b"".join(
        struct.pack("<Q", 0 if value is None else value.ctypes.data)
        if parameter.is_pointer
        else np.array(value, parameter.dtype).tobytes().ljust(8, b"\0")
        for parameter, value in zip(kernel.parameters, arguments, strict=True)
    )
