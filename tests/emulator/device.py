"""A GPU for the engine's tests: flat kernels run as on a CPU, cooperative kernels in the emulator."""

import itertools
from functools import cache
from typing import Any

from emulator.launch import Emulator
from emulator.report import Report
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.compilation.source import Constants, Variant
from ttfs_cupy.device.gpu_limits import GpuLimits, of_capability


@cache
def emulator_of(file: str, constants: Constants) -> Emulator:
    """One of the engine's kernel files with these constants."""
    return Emulator(source.cooperative_text(file), constants=dict(constants), file_name=f"{file}.cu")


class EmulatedGpu(CpuDevice):
    """As CpuDevice, with a GPU's limits; `reports` holds what the emulator says of each cooperative launch.

    registers: of every kernel's threads, as far as the choice of tiles is concerned.
    """

    def __init__(self, gpu: GpuLimits | None = None, *, seed: int = 0, registers: int = 255):
        super().__init__(1)
        self.name = "emulated"
        self.gpu = gpu or of_capability((9, 0), multiprocessors=2)
        self.reports: list[tuple[Variant, Report]] = []
        self._seeds = itertools.count(seed)
        self._registers = registers

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        file = source.kernels(source.COOPERATIVE)[variant.kernel].file
        emulator = emulator_of(file, variant.constants)
        seed = next(self._seeds)
        report = emulator.launch(variant.kernel, blocks, variant.threads, shared_bytes, *arguments, seed=seed)
        self.reports.append((variant, report))

    def registers(self, variant: Variant) -> int:
        return self._registers
