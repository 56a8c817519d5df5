"""`ttfs` itself: its help, its version, shell completion, and a word for what is no command."""

import argparse
import difflib
import sys
from collections.abc import Sequence

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.commands import COMMANDS
from ttfs_cupy.common.command.typed_command import FRONT, called_front
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# how alike a name must be to be what was meant
ALIKE = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """What `ttfs` does without a command, or with one that does not exist; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    ends = arguments is None
    if given and not given[0].startswith("-"):
        return command_line.run(lambda: _refuse(given[0]), process_ends=ends)
    parsed = parser().parse_args(given)
    if parsed.print_completion is not None:
        return command_line.run(lambda: _print_completion(parsed.print_completion), process_ends=ends)
    parser().print_help()
    return 0


def parser() -> argparse.ArgumentParser:
    """Of what may stand before a command."""
    widest = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:{widest}}  {line}" for name, (_, line) in COMMANDS.items())
    front = command_line.Parser(
        prog=called_front(),
        usage="%(prog)s [-h] [--version] [--print-completion SHELL] COMMAND ...",
        description="Trains deep spiking neural networks with time-to-first-spike coding.",
        epilog=f"commands:\n{commands}\n\n'{called_front()} COMMAND --help' tells what a command takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    front.add_argument(
        "--print-completion", metavar="SHELL", help="print a script that completes commands in bash, zsh, fish or tcsh"
    )
    return front


def _refuse(name: str) -> None:
    bare = name.removeprefix(f"{FRONT}-").lower()
    begun = [command for command in COMMANDS if command.startswith(bare)] if bare else []
    near = begun or difflib.get_close_matches(bare, COMMANDS, n=1, cutoff=ALIKE)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
    raise UserError(f"{called_front()} has no command {shown(name)}: {hint}")


def _print_completion(shell: str) -> None:
    # with all commands' modules, of which nothing else here has need
    from ttfs_cupy.common.command import completion

    command_line.say(completion.script(shell, parser()))
