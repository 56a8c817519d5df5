"""Colours: a terminal gets a few, and nothing else any."""

import io
import logging
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import command, small
from helpers.environments import REPOSITORY

from ttfs_cupy import train as train_command
from ttfs_cupy.common.command import colours, command_line
from ttfs_cupy.common.errors import UserError

ESCAPE = "\x1b["


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.parametrize(
    ("variables", "terminal", "pipe"),
    [
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        # as no-color.org has it
        ({"NO_COLOR": ""}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_which_streams_get_them(
    variables: dict[str, str], terminal: bool, pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (colours.suit(Terminal()), colours.suit(io.StringIO())) == (terminal, pipe)


def test_a_closed_stream_gets_none() -> None:
    closed = io.StringIO()
    closed.close()
    assert not colours.suit(closed) and not colours.suit(None)


def test_what_has_which_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    logger = logging.getLogger("ttfs_cupy")

    def speaks() -> None:
        logger.info("plain")
        logger.info("the %s one", "best", extra={"bold": "best"})
        logger.info("nothing here", extra={"bold": "best"})
        logger.warning("careful")
        raise UserError("wrong")

    assert command_line.run(speaks) == command_line.USER_ERROR
    assert out.getvalue() == f"plain\nthe {ESCAPE}1mbest{ESCAPE}0m one\nnothing here\n{ESCAPE}33mcareful{ESCAPE}0m\n"
    assert err.getvalue() == f"{ESCAPE}31merror: wrong{ESCAPE}0m\n"


def test_a_mistake_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    err = command(train_command.main, "--nix").err
    assert err.startswith(f"{ESCAPE}31merror: ") and err.endswith(f" --help{ESCAPE}0m\n")


def on_a_terminal(arguments: list[str], **variables: str) -> str:
    """What a command shows on one."""
    master, slave = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), **variables}
    process = subprocess.Popen(
        [sys.executable, "-m", "ttfs_cupy", *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    shown = b""
    try:
        while piece := os.read(master, 1 << 16):
            shown += piece
    except OSError:
        # Linux says so where nobody has the other end any more
        pass
    finally:
        os.close(master)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_a_run_on_a_terminal(tmp_path: Path) -> None:
    shown = on_a_terminal(["train", *small(tmp_path / "run", training__epochs=1)])
    assert f" {ESCAPE}1m(best){ESCAPE}0m, firing rates" in shown
    assert f"{ESCAPE}1mtest accuracy " in shown
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "(best)" in log and "test accuracy" in log and "\x1b" not in log
    # nor is there any where it is unwanted; the bar that shows progress moves the cursor
    plain = on_a_terminal(["train", *small(tmp_path / "plain", training__epochs=1)], NO_COLOR="1")
    assert "(best)" in plain and f"{ESCAPE}1m" not in plain and f"{ESCAPE}0m" not in plain
