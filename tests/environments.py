"""Python processes in an environment that lacks something: a package, or every program on PATH."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def without(folder: Path, *missing: str) -> dict[str, str]:
    """The variables of an environment, made in `folder`, without the packages whose names begin so.

    Python has to be started with -S: it finds every other installed package, and this repository's.
    """
    packages = Path(sysconfig.get_paths()["purelib"])
    for entry in packages.iterdir():
        if not entry.name.lower().startswith(missing) and entry.name != "ttfs_cupy":
            (folder / entry.name).symlink_to(entry)
    mine = folder / "ttfs_cupy"
    mine.mkdir()
    for entry in (*(REPOSITORY / "ttfs_cupy").iterdir(), REPOSITORY / "models", REPOSITORY / "data"):
        (mine / entry.name).symlink_to(entry)
    return {"PYTHONPATH": str(folder)}


def python(
    code: str, *options: str, variables: Mapping[str, str] | None = None, unset: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs the code in a process of its own."""
    environment = {**os.environ, **(variables or {})}
    for name in unset:
        environment.pop(name, None)
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
