"""The one place that imports torchvision, and only when asked: `import torch` takes seconds."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import message_of


def torchvision(submodule: str) -> ModuleType:
    """torchvision's `submodule`, such as 'datasets'; UserError if torchvision cannot be imported."""
    return imported(f"torchvision.{submodule}", "torchvision", "pip install torchvision")


@contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Turns whatever a failing download of the data set `name` raises into one UserError."""
    try:
        yield
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the data set {name} could not be downloaded into {root} ({message_of(error)}): "
            "check the network, or put its files there yourself"
        ) from error
