"""Types the command lines of a block: the package's own in this process, all else in a shell."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import dropwhile
from pathlib import Path

from helpers.commands import command
from helpers.documentation.blocks import Block, command_lines
from helpers.documentation.workshop import SETTINGS
from helpers.environments import REPOSITORY
from ttfs_cupy.common.command.commands import COMMANDS
from ttfs_cupy.experiment.config import load_config

# of what a block may not be run for
REASONS = (
    "installs",
    "needs a GPU",
    "needs another program",
    "needs files of yours",
    "takes long",
    "stays open",
)
OF_SHELLS = re.compile(r"""(?:'[^']*'|"[^"]*"|[^'"|<>;&$`()])*[|<>;&$`(]""")
# what starts several processes of what comes behind its options
LAUNCHERS = ("mpirun", "srun", "torchrun")
# of other programs than ours, those whose lines change nothing that matters
HARMLESS = ("cat ", "cd ", "cp ", "head ", "ls ", "make -C ", "mkdir ", "paste ", "tail ")
LONG = ("bench", "check")
SECONDS = 120


def run(block: Block, folder: Path, programs: Path) -> None:
    """Types the lines of a block in that folder. programs: where `ttfs` and `python` are. Raises AssertionError."""
    for number, line in command_lines(block):
        place = f"{block.page.name}:{number}: {line}"
        if OF_SHELLS.match(line) or line.startswith(HARMLESS):
            if not missing(line):
                _typed(place, line, folder, programs)
            continue
        words = shlex.split(line, comments=True)
        name, arguments = ours(words)
        if name is None:
            check_other(place, words)
        else:
            _called(place, name, arguments)


def check(block: Block) -> None:
    """Lines of a block that is not run: those that are commands of ours must be accepted."""
    for number, line in command_lines(block):
        place = f"{block.page.name}:{number}: {line}"
        for part in re.split(r"\s(?:\||&&|;)\s", line.removesuffix(" &")):
            words = shlex.split(part, comments=True)
            name, arguments = ours(words)
            if name is None:
                check_other(place, words)
            else:
                _parsed(place, name, arguments)


def ours(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """A command's name, or a module's, and its arguments; None for what is none of ours."""
    words = list(dropwhile(lambda word: "=" in word, words))
    if words and words[0] in LAUNCHERS and "ttfs" in words:
        words = words[words.index("ttfs") :]
    if not words:
        return None, []
    program, *rest = words
    if program == "ttfs":
        return (rest[0], rest[1:]) if rest and not rest[0].startswith("-") else ("", rest)
    if program.startswith("ttfs-"):
        return program.removeprefix("ttfs-"), rest
    if Path(program).name.startswith("python") and rest[:1] == ["-m"] and rest[1].startswith("ttfs_cupy"):
        module, arguments = rest[1], rest[2:]
        if module == "ttfs_cupy":
            return ours(["ttfs", *arguments])
        name = module.removeprefix("ttfs_cupy.")
        return (name if name in COMMANDS else module), arguments
    return None, []


def missing(line: str) -> list[str]:
    """Programs of a line that are not installed here."""
    first = (part.split()[0] for part in re.split(r"\s*(?:\|\|?|&&|;|\$\(|<\()\s*", line) if part.split())
    known = ("ttfs", "python", "cd", "export", "source")
    return [
        name
        for name in first
        if not name.startswith(("./", "ttfs-")) and "/" not in name and name not in known and shutil.which(name) is None
    ]


def check_other(place: str, words: Sequence[str]) -> None:
    """Of pip, make and python: what they are told exists."""
    assert words, place
    if words[0] == "pip":
        extras = {extra for group in re.findall(r"\[([\w,]+)\]", " ".join(words)) for extra in group.split(",")}
        setup = (REPOSITORY / "setup.cfg").read_text().split("[options.extras_require]")[1].split("\n[")[0]
        assert extras <= set(re.findall(r"^(\w+) =", setup, re.MULTILINE)), f"{place}: no such extra"
    elif words[0] == "make":
        makefile = (REPOSITORY / "Makefile").read_text()
        targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        assert all(re.search(rf"^{target}\b.*:", makefile, re.MULTILINE) for target in targets), f"{place}: no target"
    elif words[0] == "python" and words[1:2] == ["-m"]:
        assert find_spec(words[2].split(".")[0]) is not None, f"{place}: no such module"
    elif words[0] == "python" and not words[1].startswith("-"):
        assert (REPOSITORY / words[1]).exists(), f"{place}: no such file"


def _typed(place: str, line: str, folder: Path, programs: Path) -> None:
    variables = {"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{place}\n{done.stdout}{done.stderr}"


def _called(place: str, name: str, arguments: list[str]) -> None:
    assert not name or (name in COMMANDS and name not in LONG), f'{place}: say why it is not run: no-run="takes long"'
    main: Callable[[Sequence[str]], int] = import_module(_module(name)).main
    outcome = command(main, *arguments, *_smaller(name, arguments))
    assert outcome.code == 0, f"{place}\n{outcome.out}{outcome.err}"


def _module(name: str) -> str:
    """Of a command, of the one that they all are part of, or the module that it names itself."""
    return COMMANDS[name][0] if name in COMMANDS else name or "ttfs_cupy.common.command.front"


def _smaller(name: str, arguments: list[str]) -> list[str]:
    """What has a command take seconds: an epoch of a small network, one seed, on the CPU."""
    if "--help" in arguments or "--version" in arguments:
        return []
    if name == "train":
        settings = {"training.epochs": "3"} if "--resume" in arguments else SETTINGS
        tuned = [] if "--resume" in arguments else ["--no-tune"]
        # an option has the last word over --set
        named = ["--network", "4C3 - P2 - 8C3 - P2"] if "--network" in arguments else []
        return [*_set(settings), "--device", "cpu", *tuned, *named]
    if name == "sweep" and "--resume" not in arguments:
        given = {word.partition("=")[0] for word in arguments}
        settings = {key: value for key, value in SETTINGS.items() if key not in given}
        # a process for each run takes long: only a sweep with a folder of its own, which a page then reads, is run
        is_run = "--output" in arguments and not any("cuda" in word for word in arguments)
        return [*_set(settings), "--no-tune", "--seeds", "0", *([] if is_run else ["--dry-run", "--devices", "cpu"])]
    return []


def _set(settings: dict[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def _parsed(place: str, name: str, arguments: list[str]) -> None:
    parser = _parser(name)
    if parser is None or "--help" in arguments:
        return
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit as ended:
        raise AssertionError(f"{place}: is not accepted") from ended
    if name == "train" and getattr(parsed, "config", None) is not None:
        load_config(parsed.config, parsed.set)


def _parser(name: str) -> argparse.ArgumentParser | None:
    """Of a command, or of a module that has one."""
    module = _module(name)
    spec = find_spec(module)
    assert spec is not None, f"there is no {module}"
    if name and name not in COMMANDS and spec.submodule_search_locations:
        module = f"{module}.__main__"
    found = import_module(module)
    make = getattr(found, "parser", None) or getattr(found, "_parser", None)
    return make() if make else None


def programs_in(folder: Path) -> Path:
    """A folder with `ttfs` and `python`, which are those of the tests."""
    folder.mkdir()
    calls = {"python": "", "python3": "", "ttfs": "-m ttfs_cupy"} | {
        f"ttfs-{name}": f"-m ttfs_cupy {name}" for name in COMMANDS
    }
    for name, options in calls.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {options} "$@"\n')
        path.chmod(0o755)
    return folder
