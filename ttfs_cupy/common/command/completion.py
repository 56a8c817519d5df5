"""Shell completion of all commands: a script that shtab makes of their parsers."""

import argparse
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.commands import COMMANDS
from ttfs_cupy.common.command.typed_command import FRONT
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import shown

SHTAB = ("shtab, which writes completions,", "pip install 'ttfs-cupy[completion]'")

# of shtab's those whose configs are completed, too
SHELLS = ("bash", "zsh", "fish", "tcsh")

# shtab's script for bash tells by "_file" that a function completes paths
CONFIGS = "_ttfs_config_files"


def script(shell: str, front: argparse.ArgumentParser) -> str:
    """What that shell completes `ttfs` by. front: what may stand before a command.

    Raises UserError for a shell that is none of SHELLS, and where shtab is missing.
    """
    shtab = imported("shtab", *SHTAB)
    if shell not in SHELLS:
        known = ", ".join(SHELLS)
        raise UserError(f"--print-completion {shown(shell)}: there is no completion for this shell, but for {known}")
    whole = argparse.ArgumentParser(FRONT, parents=[front], add_help=False)
    commands = whole.add_subparsers()
    configs = _configs(import_module(COMMANDS["list"][0]).names("configs"))
    for name, (module, line) in COMMANDS.items():
        command: argparse.ArgumentParser = import_module(module).parser()
        for action in command._actions:
            if (kind := _kind(action, configs, shtab)) is not None:
                action.complete = kind  # type: ignore[attr-defined]
        commands.add_parser(name, parents=[command], add_help=False, help=line, description=line)
    for action in whole._actions:
        if action.dest == "print_completion":
            action.choices = SHELLS
    text: str = shtab.complete(whole, shell)
    return text


def _kind(action: argparse.Action, configs: dict[str, Any], shtab: Any) -> dict[str, Any] | None:
    """What completes an argument, as shtab has it; None leaves that to the argument's choices."""
    if action.dest == "config":
        return configs
    if action.type not in (command_line.path, command_line.file_name, Path):
        return None
    found: dict[str, Any] = shtab.DIRECTORY if "DIR" in str(action.metavar) else shtab.FILE
    return found


def _configs(names: list[str]) -> dict[str, Any]:
    """The bundled configs' names, YAML files, and T2FSNN's JSON."""
    words = shlex.join(names)
    files = "; ".join(f"compgen -f -X '!*.{ending}' -- $1" for ending in ("yaml", "json"))
    bash = f"compgen -W {shlex.quote(words)} -- $1; {files}; compgen -d -- $1"
    zsh = f"_alternative 'configs:bundled config:({words})' 'files:config:_files -g \"*.(yaml|json)\"'"
    return {
        "bash": CONFIGS,
        "zsh": CONFIGS,
        "tcsh": f"({words})",
        "fish": f"(string split ' ' {shlex.quote(words)}; __fish_complete_suffix .yaml; __fish_complete_suffix .json)",
        "preamble": {"bash": f"{CONFIGS}() {{ {bash}; }}", "zsh": f"{CONFIGS}() {{ {zsh}; }}"},
    }
