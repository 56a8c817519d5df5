"""Shell completion: a script of shtab's, which bash runs here."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import command
from helpers.refusals import refused

from ttfs_cupy.common.command import front
from ttfs_cupy.common.command.commands import COMMANDS

# what bash does when TAB is pressed after these words
PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
$(complete -p ttfs | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("shtab", reason="the extra completion brings what writes the script")
    outcome = command(front.main, "--print-completion", "bash")
    assert (outcome.code, outcome.err) == (0, "")
    path = tmp_path_factory.mktemp("completion") / "ttfs.bash"
    path.write_text(outcome.out)
    return path


def bash(*arguments: str | Path, here: Path) -> list[str]:
    ended = subprocess.run(["bash", *arguments], cwd=here, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.split()


def test_bash_accepts_it(script: Path, tmp_path: Path) -> None:
    assert bash("-n", script, here=tmp_path) == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ttfs tr", {"train"}),
        ("ttfs ", {*COMMANDS}),
        ("ttfs list mod", {"models"}),
        ("ttfs train qui", {"quickstart"}),
        # a YAML file, T2FSNN's JSON, and a folder in which there may be one; not other files
        ("ttfs train my", {"my.yaml", "my.json", "my_runs"}),
        ("ttfs preview my", {"my.yaml", "my.json", "my_runs"}),
        ("ttfs train --resume my", {"my_runs"}),
        ("ttfs evaluate my", {"my_runs"}),
        ("ttfs preview quickstart --output my", {"my.yaml", "my.json", "my.txt", "my_runs"}),
        ("ttfs train --dry", {"--dry-run"}),
        ("ttfs --print-completion z", {"zsh"}),
    ],
)
def test_what_tab_gives(line: str, words: set[str], script: Path, tmp_path: Path) -> None:
    (tmp_path / "my_runs").mkdir()
    for name in ("my.yaml", "my.json", "my.txt"):
        (tmp_path / name).touch()
    assert {*bash("-c", PRESS_TAB, "bash", script, *line.split(" "), here=tmp_path)} == words


@pytest.mark.parametrize("shell", ["zsh", "fish", "tcsh"])
def test_other_shells(shell: str) -> None:
    pytest.importorskip("shtab", reason="the extra completion brings what writes the script")
    outcome = command(front.main, "--print-completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(word in outcome.out for word in (*COMMANDS, "dry-run", "quickstart"))


def test_a_shell_that_is_not_known() -> None:
    pytest.importorskip("shtab", reason="the extra completion brings what writes the script")
    # powershell is one that shtab knows, and would complete no configs in
    for shell in ("ksh", "powershell"):
        words = f"'{shell}': there is no completion for this shell, but for bash, zsh, fish, tcsh\n"
        refused(command(front.main, "--print-completion", shell), words)


def test_without_shtab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    sentence = refused(command(front.main, "--print-completion", "bash"))
    assert sentence == (
        "error: shtab, which writes completions, is not installed: pip install 'ttfs-cupy[completion]'\n"
    )
