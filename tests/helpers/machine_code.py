"""What tests of machine code need: NVRTC, and NVIDIA's disassembler."""

from collections.abc import Callable
from functools import cache

import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.compilation import disassembly, nvrtc


@cache
def _why_not(tool: Callable[[], object]) -> str:
    try:
        tool()
    except UserError as error:
        return str(error)
    return ""


def skip_without_nvrtc() -> None:
    if _why_not(nvrtc.version):
        pytest.skip(_why_not(nvrtc.version))


def skip_without_tools() -> None:
    skip_without_nvrtc()
    if _why_not(disassembly.disassembler):
        pytest.skip(_why_not(disassembly.disassembler))
