"""A file of weights that rank 0 reads for all ranks."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.ranks.group import Group

# what checkpoint.load() gives
Content = tuple[dict[str, np.ndarray], dict[str, Any]]


def reader(group: Group) -> Callable[[Path], Content]:
    """checkpoint.load(), of rank 0's file, at all ranks."""

    def load(path: Path) -> Content:
        if group.rank == 0:
            arrays, metadata = checkpoint.load(path)
            send(group, path, arrays, metadata)
            return arrays, metadata
        _, arrays, metadata = received(group)
        return arrays, metadata

    return load


def send(group: Group, path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """By rank 0, what received() gives at all others."""
    group.broadcast([str(path), dict(metadata)])
    group.broadcast_arrays(arrays)


def received(group: Group) -> tuple[Path, dict[str, np.ndarray], dict[str, Any]]:
    """The path, arrays and metadata that rank 0 sends."""
    path, metadata = group.broadcast()
    return Path(path), group.broadcast_arrays(), metadata
