"""Finds the subpackages that stand beside this package in a checkout, where no installation has put them into it.

setup.cfg installs models/, data/, configs/ and benchmarks/ as ttfs_cupy.models and so on. This is for a clone that runs
as it lies there: these four, and nothing else of the repository, are imported from its top.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).parents[1]
_NAMES = frozenset(f"ttfs_cupy.{folder}" for folder in ("models", "data", "configs", "benchmarks"))


class _FinderBesideThePackage(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_PACKAGE.parent)]) if name in _NAMES else None


def make_importable() -> None:
    """Does nothing in an installed package, which holds all of its subpackages."""
    if not (_PACKAGE / "models").exists() and (_PACKAGE.parent / "models" / "__init__.py").exists():
        # before what else there is: an editable installation of another checkout knows these names, too
        sys.meta_path.insert(0, _FinderBesideThePackage())
