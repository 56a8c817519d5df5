"""`ttfs`: one command of which all others are a part."""

from importlib import import_module
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.environments import REPOSITORY, run
from helpers.refusals import refused

from ttfs_cupy.common.command import front
from ttfs_cupy.common.command.commands import COMMANDS
from ttfs_cupy.common.version import __version__

HERE = {"PYTHONPATH": str(REPOSITORY)}


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_its_help_lists_all_commands(arguments: list[str]) -> None:
    outcome = command(front.main, *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    listed = lines[lines.index("commands:") + 1 :][: len(COMMANDS)]
    assert [line.split(maxsplit=1) for line in listed] == [[name, line] for name, (_, line) in COMMANDS.items()]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_what_the_table_says(name: str) -> None:
    module = import_module(COMMANDS[name][0])
    assert module.parser().prog == f"ttfs-{name}"
    outcome = command(module.main, "--version")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"ttfs_cupy {__version__}\n", "")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("trian", "did you mean train?"),
        ("eval", "did you mean evaluate?"),
        ("benhc", "did you mean bench?"),
        ("ttfs-check", "did you mean check?"),
        ("LIST", "did you mean list?"),
        ("zzz", f"there are {', '.join(COMMANDS)}"),
        ("", f"there are {', '.join(COMMANDS)}"),
        ("\x1b[2J", f"there are {', '.join(COMMANDS)}"),
    ],
)
def test_what_is_no_command(name: str, hint: str) -> None:
    sentence = refused(command(front.main, name, "quickstart"))
    assert sentence.startswith("error: ttfs has no command '") and sentence.endswith(f"': {hint}\n")


def test_what_is_no_option() -> None:
    assert refused(command(front.main, "--nix")) == "error: unrecognized arguments: --nix: see ttfs --help\n"


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--version", 0), ("trian", 2)])
def test_what_needs_no_engine_imports_none(argument: str, code: int) -> None:
    ended = run("-X", "importtime", "-m", "ttfs_cupy", argument, variables=HERE)
    assert ended.returncode == code
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"numpy", "torch", "pydantic", "yaml", "cupy"}


def test_a_command_is_the_same_by_every_name() -> None:
    whole, part = (run("-m", *name, "models", variables=HERE) for name in (("ttfs_cupy", "list"), ("ttfs_cupy.list",)))
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.startswith("vgg11\t") and whole.stdout == part.stdout


def test_messages_name_the_command_as_it_was_started(tmp_path: Path) -> None:
    for words in (["ttfs_cupy", "train"], ["ttfs_cupy.train"]):
        ended = run("-m", *words, "quickstart", "--nix", variables=HERE, here=tmp_path)
        assert ended.stderr == f"error: unrecognized arguments: --nix: see python -m {' '.join(words)} --help\n"
