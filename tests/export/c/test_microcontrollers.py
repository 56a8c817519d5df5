"""The files by compilers for microcontrollers, which know no operating system and no C library."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import network_kinds

from ttfs_cupy.export.c.export import write_files
from ttfs_cupy.export.c.quantization import integers_of
from ttfs_cupy.export.c.stages import stages_of
from ttfs_cupy.export.c.text import FLOAT32, INT8, files_of

ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi"]
COMPILERS = {
    "zig, Cortex-M4": [*ZIG, "-mcpu=cortex_m4"],
    "zig, Cortex-M0": [*ZIG, "-mcpu=cortex_m0"],
    "gcc, Cortex-M4F": ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"],
    "gcc, Cortex-M0": ["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb"],
}
WARNINGS = ["-std=c99", "-Os", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion"]


@pytest.mark.parametrize("name", COMPILERS)
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_both_files_build(name: str, slope: float, tmp_path: Path) -> None:
    command = COMPILERS[name]
    is_there = importlib.util.find_spec("ziglang") if command[0] == sys.executable else shutil.which(command[0])
    if not is_there:
        pytest.skip(f"{command[0]} is not here")
    integers = integers_of(stages_of(network_kinds.network(psp_slope=slope, initial_potential=True), 255))
    write_files(tmp_path / "files", files_of(integers, "test", None))
    for source in (FLOAT32, INT8):
        target = tmp_path / f"{source}.o"
        done = subprocess.run(
            [*command, *WARNINGS, "-c", tmp_path / "files" / source, "-o", target], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert target.stat().st_size > 1000
