"""The sides by name, and which of them may be compared.

The engine and PyTorch are imported once a side of theirs is asked for: see workload.py.
"""

import gc
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from ttfs_cupy.benchmarks.measure import Side
from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device

OURS = "ttfs_cupy"

# Each peer with its variants, of which the fastest counts.
PEERS: Mapping[str, tuple[str, ...]] = {
    "eager": ("",),
    "compile": ("",),
    "ann": ("contiguous", "channels_last"),
}
DEFAULT = ("eager", "ann")
NONE = "none"

# What these two compute is T2FSNN's model.
SLOPE_ONE_ONLY = ("eager", "compile")


def peers(text: str | None, psp_slope: float) -> list[str]:
    """The peers that a comma-separated list names; without one, all of the default that compute with that slope.

    Raises UserError for a peer that is not known, does not compute with that slope, or lacks its package.
    """
    if text == NONE:
        return []
    if text is None:
        names = [name for name in DEFAULT if psp_slope == 1 or name not in SLOPE_ONE_ONLY]
    else:
        names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in PEERS:
            raise UserError(f"peer '{name}' is not known: use {', '.join(PEERS)}, with commas between them, or {NONE}")
        if psp_slope != 1 and name in SLOPE_ONE_ONLY:
            raise UserError(f"peer '{name}' computes with psp_slope 1 only, not {psp_slope:g}: use --against ann")
    if find_spec("torch") is None:
        listed = " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
        raise UserError(f"PyTorch, which {listed} would run on, is missing: pip install torch, or use --against {NONE}")
    return names


def variants(name: str) -> tuple[str, ...]:
    """The ways to run a side, of which the fastest counts; "" where there is one only."""
    return PEERS.get(name, ("",))


def side(name: str, variant: str, device: Device) -> Side:
    if name == OURS:
        from ttfs_cupy.benchmarks import ours

        return ours.side(name, device)
    from ttfs_cupy.benchmarks.peers import pytorch

    return pytorch.side(name, variant, device.name)


def set_up(names: Sequence[str], device: Device, threads: int | None, precision: str) -> dict[str, bool | int | str]:
    """Prepares PyTorch if one of the sides runs on it; returns its settings by name. precision: the engine's."""
    if not any(name in PEERS for name in names):
        return {}
    with uninterrupted():
        from ttfs_cupy.benchmarks.peers import pytorch

    return pytorch.set_up(device.name, threads, precision)


def peak_gpu_bytes(name: str, device: Device) -> int | None:
    """What the allocator of a side has held at most; None on a CPU."""
    if device.target == "cpu":
        return None
    if name == OURS:
        # the pool gives nothing back by itself
        return int(device.xp.get_default_memory_pool().total_bytes())
    from ttfs_cupy.benchmarks.peers import pytorch

    return pytorch.peak_gpu_bytes()


def free_memory(names: Sequence[str], device: Device) -> None:
    """Ends networks that nobody names any more, and gives back what they leave with a GPU's allocators."""
    gc.collect()
    if device.target == "cpu":
        return
    device.xp.get_default_memory_pool().free_all_blocks()
    if any(name in PEERS for name in names):
        from ttfs_cupy.benchmarks.peers import pytorch

        pytorch.free_gpu_memory()
