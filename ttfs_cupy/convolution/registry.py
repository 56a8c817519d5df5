"""Which algorithms of convolution there are.

A module of this folder, or of one below it, that names a class ALGORITHM is an algorithm; there is no other list.
"""

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from ttfs_cupy.convolution.algorithm import Algorithm


@cache
def algorithms() -> dict[str, type[Algorithm]]:
    """Every algorithm by its name, in alphabetical order."""
    found: dict[str, type[Algorithm]] = {}
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
        candidate = getattr(importlib.import_module(module.name), "ALGORITHM", None)
        if candidate is not None:
            found[candidate.name] = candidate
    return dict(sorted(found.items()))
