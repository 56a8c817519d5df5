"""Another command of ours as its user would type it: started as this process was, from the folder that it is in."""

import shlex
import shutil
import sys
from pathlib import Path

PACKAGE = "ttfs_cupy"
SCRIPTS = ("ttfs-train", "ttfs-evaluate", "ttfs-preview", "ttfs-convert", "ttfs-check", "ttfs-bench")


def typed(command: str, *arguments: str | Path) -> str:
    """command: train, evaluate, preview, convert, check or bench.

    `ttfs-train` is followed by `ttfs-evaluate`, and `.venv/bin/python -m ttfs_cupy.train` by
    `.venv/bin/python -m ttfs_cupy.evaluate`. A program that the shell would find gets its name alone, another one its
    path, relative if it lies below the working folder.
    """
    started = Path(sys.argv[0] if sys.argv else "")
    script = started.parent / f"ttfs-{command}"
    if started.name in SCRIPTS and script.exists():
        words = [_program(script)]
    else:
        python = _program(Path(sys.executable)) if sys.executable else "python"
        words = [python, "-m", f"{PACKAGE}.{command}"]
    return shlex.join([*words, *(_argument(argument) for argument in arguments)])


def _program(program: Path) -> str:
    # links are not followed: an environment's python is a link to one that knows nothing of the environment
    absolute = Path.cwd() / program
    found = shutil.which(program.name)
    if found is not None and Path.cwd() / found == absolute:
        return program.name
    if absolute.is_relative_to(Path.cwd()):
        relative = absolute.relative_to(Path.cwd())
        # a bare name would be looked for on PATH
        return str(relative) if len(relative.parts) > 1 else f"./{relative}"
    return str(absolute)


def _argument(argument: str | Path) -> str:
    text = str(argument)
    # else it would be taken for an option
    return f"./{text}" if isinstance(argument, Path) and text.startswith("-") else text
