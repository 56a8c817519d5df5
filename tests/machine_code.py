"""What tests of machine code need: NVRTC and NVIDIA's disassembler."""

from functools import cache

import pytest

from ttfs_cupy.errors import UserError
from ttfs_cupy.kernels import disassembly, nvrtc


@cache
def _what_is_missing() -> str:
    try:
        nvrtc.version()
        disassembly.disassembler()
    except UserError as error:
        return str(error)
    return ""


def skip_without_tools() -> None:
    if _what_is_missing():
        pytest.skip(_what_is_missing())
