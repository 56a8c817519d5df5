"""The commands that a run names at its end, and when it is interrupted, work as they are typed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.commands import small

from ttfs_cupy.common.command.typed_command import called, typed
from ttfs_cupy.experiment.files.run_directory import RunDirectory

SCRIPT = """#!{python}
import sys
from ttfs_cupy.common.command.entry import {function}
sys.exit({function}())
"""


def paths() -> str:
    return os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)


def advice(out: str) -> list[str]:
    lines = out.splitlines()
    return [line.strip() for line in lines[next(i for i, line in enumerate(lines) if line.endswith("try next:")) + 1 :]]


@pytest.mark.parametrize("way", ["python below", "scripts on PATH", "package below", "front on PATH"])
def test_the_advice_at_the_end_of_a_run(way: str, tmp_path: Path) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    # what an environment's python is: a link, beside a file that says where the environment is
    (binaries / "python").symlink_to(sys.executable)
    (binaries.parent / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    for name, function in {"ttfs": "front", "ttfs-train": "train", "ttfs-evaluate": "evaluate"}.items():
        script = binaries / name
        script.write_text(SCRIPT.format(python=sys.executable, function=function))
        script.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": paths()}
    if way.endswith("on PATH"):
        environment["PATH"] = f"{binaries}{os.pathsep}{environment['PATH']}"
    start, starts = {
        "python below": ([".venv/bin/python", "-m", "ttfs_cupy.train"], ".venv/bin/python -m ttfs_cupy."),
        "scripts on PATH": (["ttfs-train"], "ttfs-"),
        "package below": ([".venv/bin/python", "-m", "ttfs_cupy", "train"], ".venv/bin/python -m ttfs_cupy "),
        "front on PATH": (["ttfs", "train"], "ttfs "),
    }[way]

    def run(line: "str | list[str]") -> str:
        ended = subprocess.run(
            line if isinstance(line, list) else ["sh", "-c", line],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, ""), (line, ended)
        return ended.stdout

    # a name that a shell would take apart
    output = Path("my runs/it's")
    evaluate, again = advice(run([*start, *small(output, training__epochs=1)]))
    assert evaluate.startswith(f"{starts}evaluate ") and again.startswith(f"{starts}train ")
    assert "test accuracy" in run(evaluate)


def test_the_advice_of_an_interrupted_run() -> None:
    assert RunDirectory(Path("a run")).resume_command == typed("train", "--resume", Path("a run"))


@pytest.mark.parametrize(
    ("started", "python", "on_path", "command"),
    [
        ("/x/ttfs_cupy/train.py", "{here}/.venv/bin/python", None, ".venv/bin/python -m ttfs_cupy.evaluate run"),
        ("/x/ttfs_cupy/train.py", "{here}/.venv/bin/python3", "{here}/.venv/bin", "python3 -m ttfs_cupy.evaluate run"),
        ("/x/ttfs_cupy/train.py", "{here}/python", None, "./python -m ttfs_cupy.evaluate run"),
        ("/x/ttfs_cupy/train.py", "{there}/bin/python", None, "{there}/bin/python -m ttfs_cupy.evaluate run"),
        ("/x/ttfs_cupy/train.py", "{there}/bin/python", "{there}/bin", "python -m ttfs_cupy.evaluate run"),
        # another python of that name would be found
        ("/x/train.py", "{there}/bin/python", "{here}/.venv/bin", "{there}/bin/python -m ttfs_cupy.evaluate run"),
        (".venv/bin/ttfs-train", "{here}/.venv/bin/python", None, ".venv/bin/ttfs-evaluate run"),
        ("{there}/bin/ttfs-train", "{there}/bin/python", None, "{there}/bin/ttfs-evaluate run"),
        ("{there}/bin/ttfs-train", "{there}/bin/python", "{there}/bin", "ttfs-evaluate run"),
        (".venv/bin/ttfs", "{here}/.venv/bin/python", None, ".venv/bin/ttfs evaluate run"),
        ("{there}/bin/ttfs", "{there}/bin/python", "{there}/bin", "ttfs evaluate run"),
        ("/x/ttfs_cupy/__main__.py", "{here}/.venv/bin/python", None, ".venv/bin/python -m ttfs_cupy evaluate run"),
        # a script that has lost its companions
        ("/nowhere/ttfs-train", "{there}/bin/python", None, "{there}/bin/python -m ttfs_cupy.evaluate run"),
        ("", "", None, "python -m ttfs_cupy.evaluate run"),
    ],
)
def test_how_a_command_is_typed(
    started: str, python: str, on_path: str | None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {"here": tmp_path / "here", "there": tmp_path / "there"}
    for folder in (places["here"], places["here"] / ".venv" / "bin", places["there"] / "bin"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("python", "python3", "ttfs", "ttfs-train", "ttfs-evaluate"):
            (folder / name).touch(0o755)
    monkeypatch.chdir(places["here"])
    monkeypatch.setattr(sys, "argv", [started.format(**places)])
    monkeypatch.setattr(sys, "executable", python.format(**places))
    monkeypatch.setenv("PATH", on_path.format(**places) if on_path else "/nowhere")
    assert typed("evaluate", "run") == command.format(**places)


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("/x/bin/ttfs", "ttfs train"),
        ("/x/bin/ttfs-train", "ttfs-train"),
        ("/x/ttfs_cupy/__main__.py", "python -m ttfs_cupy train"),
        ("/x/ttfs_cupy/train.py", "python -m ttfs_cupy.train"),
        ("/x/ttfs_cupy/train/__main__.py", "python -m ttfs_cupy.train"),
        # another program, such as a notebook's
        ("/x/pytest/__main__.py", "ttfs-train"),
        ("", "ttfs-train"),
    ],
)
def test_how_a_command_is_called(started: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [started] if started else [])
    assert called("train") == name


def test_arguments_are_quoted_and_never_taken_for_options() -> None:
    assert typed("train", "--resume", Path("a b")).endswith(" -m ttfs_cupy.train --resume 'a b'")
    assert typed("train", "--resume", Path("-x")).endswith(" --resume ./-x")
