"""Finds the subpackages that stand beside this package in a checkout, where no installation has put them into it.

setup.cfg installs models/, data/, configs/ and benchmarks/ as ttfs_cupy.models and so on. This is for a clone that runs
as it lies there: these four, and nothing else of the repository, are imported from its top.

It is imported before anything else, and so imports little: pathlib and importlib.abc would take ten times as long.
"""

# ruff: noqa: PTH118, PTH120, PTH100, PTH110
import os.path
import sys
from importlib.machinery import PathFinder

# type checkers take it for true
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_TOP = os.path.dirname(_PACKAGE)
_NAMES = frozenset(f"ttfs_cupy.{folder}" for folder in ("models", "data", "configs", "benchmarks"))


class _FinderBesideThePackage:
    """A finder, as sys.meta_path holds them."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        return PathFinder.find_spec(name, [_TOP]) if name in _NAMES else None


def make_importable() -> None:
    """Does nothing in an installed package, which holds all of its subpackages."""
    is_installed = os.path.exists(os.path.join(_PACKAGE, "models"))
    if not is_installed and os.path.exists(os.path.join(_TOP, "models", "__init__.py")):
        # before what else there is: an editable installation of another checkout knows these names, too
        sys.meta_path.insert(0, _FinderBesideThePackage)
