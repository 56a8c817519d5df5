"""Where a command's words go: closed streams, readers that leave early, terminals that cannot show them."""

import io
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers.commands import FILES, Outcome, metrics, run_small, small, timeless, train
from helpers.refusals import refused, tree

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError


class Gone(io.StringIO):
    """A stream that nobody reads."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def shell(line: str, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A line as typed; $PYTHON is the interpreter."""
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": paths, **variables}
    return subprocess.run(
        ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def command(output: Path | str, epochs: int = 3) -> str:
    return '"$PYTHON" -m ttfs_cupy.train ' + shlex.join(small(Path(output), training__epochs=epochs))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", training__epochs=3)


def test_a_reader_that_has_seen_enough_ends_a_run_between_two_epochs(whole: Path, tmp_path: Path) -> None:
    """Quietly, with a killed pipe's exit code; what is on disk goes on to the same bits."""
    ended = shell(f"{command('run')} | grep -m1 epoch; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert ended.stderr == ""
    first, code = ended.stdout.splitlines()
    assert first.startswith("epoch 1/3: ") and code == str(command_line.OUTPUT_CLOSED)
    run = tmp_path / "run"
    assert {file.name for file in run.iterdir()} == FILES
    done = len(metrics(run))
    assert 1 < done <= 3
    *_, line, reason = (line.partition(",")[2] for line in (run / "log.txt").read_text().splitlines())
    assert line[4:].startswith(f"epoch {done}/3: ") and "nobody reads the output any more" in reason
    assert train("--resume", run).code == 0
    assert timeless(run) == timeless(whole)


def test_a_reader_that_has_seen_enough_before_the_first_epoch_leaves_nothing(tmp_path: Path) -> None:
    ended = shell(f"{command('run')} | true; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert ended.stderr == "" and ended.stdout.splitlines() == [str(command_line.OUTPUT_CLOSED)]
    assert tree(tmp_path) == {}


def test_closed_streams(whole: Path, tmp_path: Path) -> None:
    """Nothing else gets their numbers: no file of the run holds what was meant for them."""
    ended = shell(f"{command('run')} >&- 2>&- <&-", tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    run = tmp_path / "run"
    assert timeless(run) == timeless(whole)
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert "try next" in (run / "log.txt").read_text()


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_an_output_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", said)
    assert command_line.run(lambda: logging.getLogger("ttfs_cupy").info("hello")) == command_line.USER_ERROR
    assert said.getvalue() == "error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_that_nobody_reads(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    with pytest.raises(SystemExit) as ended:
        command_line.Parser().parse_args([option])
    assert ended.value.code == command_line.OUTPUT_CLOSED


@pytest.mark.parametrize("line", ["", "--help", "--version", "train --help", "list", "train quickstart --nix"])
def test_a_disk_that_is_full(line: str, tmp_path: Path) -> None:
    ended = shell(f'"$PYTHON" -m ttfs_cupy {line} > /dev/full', tmp_path)
    sentence = "unrecognized arguments" if "nix" in line else "the output cannot be written: No space left on device"
    assert sentence in refused(Outcome(ended.returncode, ended.stdout, ended.stderr))
    silent = shell(f'"$PYTHON" -m ttfs_cupy {line} > /dev/full 2> /dev/full', tmp_path)
    assert silent.returncode == command_line.USER_ERROR


@pytest.mark.parametrize("line", ["--help", "--version", "list configs", "train quickstart --dry-run"])
def test_a_reader_that_is_gone(line: str, tmp_path: Path) -> None:
    """Before anything is said: else it would depend on who is quicker."""
    ended = shell(f'{{ sleep 0.2; exec "$PYTHON" -m ttfs_cupy {line}; }} | true; echo ${{PIPESTATUS[0]}}', tmp_path)
    assert (ended.stdout, ended.stderr) == (f"{command_line.OUTPUT_CLOSED}\n", "")
    assert tree(tmp_path) == {}


def test_the_first_lines_of_a_dry_run(tmp_path: Path) -> None:
    """Its end is said seconds after its beginning."""
    ended = shell('"$PYTHON" -m ttfs_cupy train quickstart --dry-run | head -3; echo ${PIPESTATUS[0]}', tmp_path)
    assert (ended.stdout, ended.stderr) == (f"config\n\nseed: 0\n{command_line.OUTPUT_CLOSED}\n", "")


def test_a_terminal_that_shows_ascii_alone(tmp_path: Path) -> None:
    folder = tmp_path / "é"
    ended = shell(command(folder, 1), tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"the run is in {tmp_path}/\\xe9; try next:" in ended.stdout
    assert f"the run is in {folder}; try next:" in (folder / "log.txt").read_text()


ASCII_ALONE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("output: \u00e9", "the output directory '\\xe9' cannot be made or written: its name is no text in ascii"),
        (
            "network: {model: [4], initial_weights: \u00e9}",
            "weights '\\xe9' cannot be read: its name is no text in ascii",
        ),
        ("network: {model: \u00e9.yaml}", "model '\\xe9.yaml' cannot be read: its name is no text in ascii"),
        (
            "data: {dataset: mnist, root: \u00e9}",
            "data.root '\\xe9' is no text in ascii",
        ),
    ],
    ids=lambda value: value.partition(":")[0],
)
def test_a_system_that_knows_ascii_alone(setting: str, sentence: str, tmp_path: Path) -> None:
    content = yaml.safe_load("data: {dataset: digits}\ntraining: {epochs: 1, batch_size: 1}")
    for key, value in yaml.safe_load(setting).items():
        content[key] = {**content[key], **value} if key in content else value
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), "utf-8")
    ended = shell('"$PYTHON" -m ttfs_cupy.train my.yaml', tmp_path, **ASCII_ALONE)
    refused(
        Outcome(ended.returncode, ended.stdout, ended.stderr), f"error: {sentence}, which paths are written in here"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"my.yaml"}


def test_nobody_hears_of_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken() -> None:
        raise UserError("a mistake")

    monkeypatch.setattr(sys, "stderr", Gone())
    assert command_line.run(mistaken) == command_line.USER_ERROR


def test_what_is_printed_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Gone())
    assert command_line.run(lambda: print("hello")) == command_line.OUTPUT_CLOSED


# Arguments that can be no paths


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--resume", ""], "argument --resume: it must name a path, and is empty"),
        (["--resume", "a\0b"], "argument --resume: 'a\\x00b' holds a NUL character, which no path may"),
        (["--resume", "\udcff"], "argument --resume: '\\udcff' is no text in utf-8, which paths are written in here"),
        ([""], "argument config: it must name a path, and is empty"),
        (["quickstart\0"], "argument config: 'quickstart\\x00' holds a NUL character, which no path may"),
        (["quickstart", "--output", ""], "argument --output: it must name a path, and is empty"),
        (["quickstart", "--output", "a\0b"], "argument --output: 'a\\x00b' holds a NUL character, which no path may"),
        (["quickstart", "--wrong\n" + "x" * 999], f"unrecognized arguments: --wrong {'x' * 167}...{'x' * 198}"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, list) else "",
)
def test_no_paths(arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(train(*arguments)) == f"error: {sentence}: see ttfs-train --help\n"
    assert tree(tmp_path) == {}


# Memory


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "MemoryError"),
        (MemoryError("Unable to allocate 2. TiB"), "Unable to allocate 2. TiB"),
        (OSError(12, "Cannot allocate memory"), "[Errno 12] Cannot allocate memory"),
    ],
)
def test_no_memory(error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows here whether a batch is to blame."""

    def fails() -> None:
        raise error

    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    assert command_line.run(fails) == command_line.USER_ERROR
    assert said.getvalue() == (
        f"error: the memory does not suffice ({reason}): end other programs, or raise the limit that is set (ulimit "
        "-v, or a container's)\n"
    )


def test_an_escape_sequence_in_a_message_does_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    def mistaken() -> None:
        raise UserError("'\x1b[2J' is\nno name")

    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    command_line.run(mistaken)
    assert said.getvalue() == "error: '\\x1b[2J' is no name\n"
