"""Ctrl-C and SIGTERM from a command's first line to its last: a word, a code, and no traceback."""

import configparser
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import processes
from helpers.environments import REPOSITORY

from ttfs_cupy.common.command.commands import COMMANDS
from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.packages import imported

# the signal ends the process, too, where Python was in code made of text: 130 is what a shell makes of that
INTERRUPTED = (130, -signal.SIGINT)

# in many short sleeps: a signal in the moment before one is answered after it
UP_AND_WAITING = "import time\nprint('up', flush=True)\nfor _ in range(600): time.sleep(0.1)\n"


def package(folder: Path, name: str, text: str) -> Path:
    """A folder to import from, with a package of that name and text."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(text)
    return folder


def started(*arguments: str, first: Path, prepare: Callable[[], object] = processes.answer) -> "subprocess.Popen[str]":
    """Python, which finds in the folder `first` what it imports; prepare runs in the process before it."""
    path = os.pathsep.join([str(first), str(REPOSITORY), *sys.path[1:]])
    return processes.started([sys.executable, *arguments], {**os.environ, "PYTHONPATH": path}, prepare)


def interrupted(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
    """Its code and what it says, when it gets that signal once it is up."""
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n", process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def scripts() -> dict[str, str]:
    """What an installation makes scripts of: their names, and MODULE:FUNCTION."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    lines = setup["options.entry_points"]["console_scripts"].split("\n")
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines if line)}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("by", "number"), [("module", signal.SIGINT), ("script", signal.SIGTERM), ("front", signal.SIGINT)]
)
def test_while_a_command_is_imported(by: str, number: signal.Signals, command: str, tmp_path: Path) -> None:
    first = package(tmp_path, "numpy", UP_AND_WAITING)
    # what came after `ttfs` has no script of its own
    name, *arguments = [f"ttfs-{command}"] if f"ttfs-{command}" in scripts() else ["ttfs", command]
    module, _, function = scripts()[name].partition(":")
    script = ("-c", f"import sys; from {module} import {function}; sys.exit({function}())", *arguments)
    # where the package has a function of that name, there is no module
    is_module = find_spec(f"ttfs_cupy.{command}") is not None
    module_line = ("-m", f"ttfs_cupy.{command}") if is_module else ("-m", "ttfs_cupy", command)
    line = {"module": module_line, "script": script, "front": ("-m", "ttfs_cupy", command)}[by]
    process = started(*line, first=first)
    code, _, err = interrupted(process, number)
    assert (code, err) == (128 + number, "interrupted\n")


@pytest.mark.parametrize("tool", ["augmentation", "gpu_model", "peak_memory", "precision", "sass", "training_step"])
def test_while_a_benchmark_is_imported(tool: str, tmp_path: Path) -> None:
    process = started("-m", f"ttfs_cupy.benchmarks.{tool}", first=package(tmp_path, "numpy", UP_AND_WAITING))
    assert interrupted(process, signal.SIGTERM) == (143, "", "interrupted\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_told_to_ignore_it_goes_on(number: signal.Signals, tmp_path: Path) -> None:
    # by nohup, say
    first = package(tmp_path, "numpy", "import time\nprint('up', flush=True)\ntime.sleep(1)\nraise SystemExit(7)\n")
    ignore = functools.partial(signal.signal, number, signal.SIG_IGN)
    process = started("-m", "ttfs_cupy.train", first=first, prepare=ignore)
    assert interrupted(process, number) == (7, "", "")


RUN = "from ttfs_cupy.common.command import entry; entry.run('command')"


@pytest.mark.parametrize(
    ("main", "outcome"),
    [
        ("return 3", (3, "")),
        ("return 0", (0, "")),
        ("raise SystemExit(2)", (2, "")),
        # before the command answers signals itself
        ("raise KeyboardInterrupt", (130, "interrupted\n")),
        ("signal.raise_signal(signal.SIGINT)", (130, "interrupted\n")),
        ("signal.raise_signal(signal.SIGTERM)", (143, "interrupted\n")),
        # while the process ends, all has been done
        ("atexit.register(signal.raise_signal, signal.SIGINT); return 0", (0, "")),
        ("atexit.register(signal.raise_signal, signal.SIGTERM); return 0", (0, "")),
    ],
)
def test_what_a_command_ends_with(main: str, outcome: tuple[int, str], tmp_path: Path) -> None:
    first = package(tmp_path, "command", f"import atexit, signal\ndef main(): {main}\n")
    process = started("-c", RUN, first=first)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == outcome


class TestUninterrupted:
    """Above all imports: a library may take an interruption for a part of it that is missing."""

    SWALLOWS = "import signal\ntry:\n    signal.raise_signal(signal.SIGINT)\nexcept BaseException:\n    part = None\n"

    @pytest.fixture(autouse=True)
    def python_s_own_answer(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        signal.signal(signal.SIGINT, before)

    def test_the_interruption_is_not_lost(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(package(tmp_path, "swallows", self.SWALLOWS))
        with pytest.raises(KeyboardInterrupt):
            imported("swallows", "swallows", "none")
        # it is whole, and the next one is answered as ever
        assert not hasattr(sys.modules.pop("swallows"), "part")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    def test_nor_where_the_import_fails(self) -> None:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            signal.raise_signal(signal.SIGINT)
            raise ImportError

    def test_one_that_is_ignored_stays_ignored(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    def test_one_that_comes_as_the_block_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may leave the block's own answer to the other signal in place, which then passes it on."""
        real, came = signal.signal, list[int]()
        before = real(signal.SIGTERM, lambda number, frame: came.append(number))
        with pytest.raises(KeyboardInterrupt), monkeypatch.context() as patch, uninterrupted():
            patch.setattr(signal, "signal", lambda number, answer: real(number, answer) and signal.raise_signal(number))
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            real(signal.SIGTERM, before)
        assert came == [signal.SIGTERM]

    def test_other_threads_may_import(self) -> None:
        done: list[bool] = []

        def work() -> None:
            with uninterrupted():
                done.append(True)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert done == [True]

    def test_a_command(self, tmp_path: Path) -> None:
        text = self.SWALLOWS + "def load_digits(): raise SystemExit('the interruption was lost')\n"
        package(tmp_path, "sklearn", "")
        package(tmp_path / "sklearn", "datasets", text)
        process = started("-m", "ttfs_cupy.train", "quickstart", "--output", str(tmp_path / "run"), first=tmp_path)
        _, err = process.communicate(timeout=60)
        assert process.returncode in INTERRUPTED and err == "interrupted\n"
        assert not (tmp_path / "run").exists()
