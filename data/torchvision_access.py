"""The one place that imports torchvision, and only when asked: `import torch` takes seconds."""

from __future__ import annotations

import http.client
import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from ttfs_cupy.common.errors import UserError


def torchvision(submodule: str) -> ModuleType:
    """torchvision's `submodule`, such as 'datasets'; UserError if torchvision cannot be imported."""
    try:
        return importlib.import_module(f"torchvision.{submodule}")
    except ImportError as error:
        raise UserError(f"torchvision cannot be imported, {one_line(error)}: pip install torchvision") from error


@contextmanager
def downloading(name: str, root: Path) -> Iterator[None]:
    """Turns whatever a failing download of the data set `name` raises into one UserError."""
    try:
        yield
    except (RuntimeError, OSError, http.client.HTTPException) as error:
        raise UserError(
            f"the data set {name} could not be downloaded into {root} ({one_line(error)}): "
            "check the network, or put its files there yourself"
        ) from error


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks, its type's name if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
