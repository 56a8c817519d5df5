"""The devices that a sweep runs on: one run at a time on each that is named."""

import os
import re
from collections.abc import Sequence

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine.cores import available_cores
from ttfs_cupy.common.shown import shown
from ttfs_cupy.device import NAMES, cuda_trouble


def parse_devices(text: str) -> list[str]:
    """The devices of `cuda:0,cuda:1` or `cpu,cpu`; one that is there twice has two runs at once. Raises UserError."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not re.fullmatch(NAMES, name):
            raise UserError(
                f"--devices {shown(text)}: {shown(name)} is no device: write auto, cpu, cuda or cuda:N, with commas "
                "between several"
            )
    return names


def check_devices(names: Sequence[str]) -> None:
    """Raises UserError where a GPU among them cannot be used. No GPU's memory is taken for that."""
    for name in dict.fromkeys(names):
        kind, _, number = name.partition(":")
        trouble = cuda_trouble(int(number or 0)) if kind == "cuda" else None
        if trouble:
            raise UserError(f"device '{name}' cannot be used: {trouble}; device 'cpu' works everywhere")


def threads_variable(at_once: int) -> dict[str, str]:
    """What to add to the environment of runs of which so many are at work at once: their share of the cores.

    It gives way to what the user has set, and `threads` of a config has the last word; bits do not depend on it.
    """
    if at_once == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, available_cores() // at_once))}
