"""Another command of ours as its user would type it: started as this process was, from the folder that it is in."""

import shlex
import shutil
import sys
from pathlib import Path

from ttfs_cupy.common.command.commands import COMMANDS

PACKAGE = "ttfs_cupy"
FRONT = "ttfs"
SCRIPTS = tuple(f"{FRONT}-{command}" for command in COMMANDS)


def typed(command: str, *arguments: str | Path) -> str:
    """command: one of COMMANDS.

    `ttfs train` is followed by `ttfs evaluate`, `ttfs-train` by `ttfs-evaluate`, and `.venv/bin/python -m
    ttfs_cupy.train` by `.venv/bin/python -m ttfs_cupy.evaluate`. A program that the shell would find gets its name
    alone, another one its path, relative if it lies below the working folder.
    """
    started = _started()
    script = started.parent / f"{FRONT}-{command}"
    if started.name == FRONT and started.exists():
        words = [_program(started), command]
    elif started.name in SCRIPTS and script.exists():
        words = [_program(script)]
    else:
        python = _program(Path(sys.executable)) if sys.executable else "python"
        by_package = _is_package(started) or not _is_module(command)
        module = [PACKAGE, command] if by_package else [f"{PACKAGE}.{command}"]
        words = [python, "-m", *module]
    return shlex.join([*words, *(_argument(argument) for argument in arguments)])


def called(command: str) -> str:
    """What this process calls that command in messages: `ttfs train` if it was started so, else `python -m
    ttfs_cupy train`, `python -m ttfs_cupy.train` or `ttfs-train`."""
    started = _started()
    if started.name == FRONT or _is_package(started):
        return f"{called_front()} {command}"
    module = command.replace("-", "_")
    if started.parts[-2:] == (PACKAGE, f"{module}.py") or started.parts[-3:] == (PACKAGE, module, "__main__.py"):
        return f"python -m {PACKAGE}.{module}"
    return f"{FRONT}-{command}"


def called_front() -> str:
    """What this process calls the command of which the others are a part."""
    return f"python -m {PACKAGE}" if _is_package(_started()) else FRONT


def _started() -> Path:
    return Path(sys.argv[0] if sys.argv else "")


def _is_module(command: str) -> bool:
    """Whether `python -m` runs it by its own name: ttfs_cupy.predict is a function."""
    return COMMANDS[command][0].startswith(f"{PACKAGE}.{command}")


def _is_package(started: Path) -> bool:
    """Whether it is what `python -m ttfs_cupy` runs."""
    return started.parts[-2:] == (PACKAGE, "__main__.py")


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
