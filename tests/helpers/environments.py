"""Python processes in an environment that lacks something: a package, or every program on PATH."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# Its folders of code, and what each is below an installation's site-packages
CODE = {
    "ttfs_cupy": "ttfs_cupy",
    "models": "ttfs_cupy/models",
    "data": "ttfs_cupy/data",
    "configs": "ttfs_cupy/configs",
    "benchmarks": "ttfs_cupy/benchmarks",
}


def site_packages() -> list[Path]:
    """The folders that third parties' packages are installed in, of the environment that the tests run in."""
    folders = dict.fromkeys(Path(entry) for entry in sys.path)
    return [folder for folder in folders if folder.name in ("site-packages", "dist-packages")]


def without(folder: Path, *missing: str) -> str:
    """A PYTHONPATH, made in `folder`, of all installed packages but those whose names begin so, and this one.

    Python has to be started with -S.
    """
    folder.mkdir(exist_ok=True)
    for packages in site_packages():
        for entry in packages.iterdir():
            link = folder / entry.name
            if not entry.name.lower().startswith(("ttfs_cupy", "__editable__", *missing)) and not link.exists():
                link.symlink_to(entry)
    return str(folder)


def python(
    code: str, *options: str, variables: Mapping[str, str] | None = None, unset: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Runs the code in a process of its own."""
    return run(*options, "-c", code, variables=variables, unset=unset)


def run(
    *arguments: str, variables: Mapping[str, str] | None = None, unset: Sequence[str] = (), here: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs Python with those arguments. here: the current folder."""
    environment = {**os.environ, **(variables or {})}
    for name in unset:
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        cwd=here,
        timeout=300,
        check=False,
    )
