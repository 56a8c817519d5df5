"""Which C compiler is taken, and what is made of what it and its programs say."""

import importlib.util
import sys
from pathlib import Path

import pytest

from ttfs_cupy.export.c.compiler import BuildError, Compiler, ProgramError, find_compiler, run


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_one_of_the_environment_comes_first(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = script(tmp_path / "mine", f'exec {" ".join(compiler.command)} "$@"')
    monkeypatch.setenv("CC", str(mine))
    assert find_compiler(tmp_path) == Compiler((str(mine),), compiler.sanitizers)


def test_one_that_does_not_work_is_passed_over(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for broken in (tmp_path / "missing", script(tmp_path / "broken", "exit 1"), script(tmp_path / "empty", "exit 0")):
        monkeypatch.setenv("CC", str(broken))
        assert find_compiler(tmp_path) == compiler


def test_without_sanitizers_it_is_taken_too(
    compiler: Compiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuses = 'case "$*" in *-fsanitize=*) exit 1;; esac'
    mine = script(tmp_path / "mine", f'{refuses}\nexec {" ".join(compiler.command)} "$@"')
    monkeypatch.setenv("CC", str(mine))
    found = find_compiler(tmp_path)
    assert found == Compiler((str(mine),), ()) and str(found) == "mine"


def test_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ziglang" else real(name))
    assert find_compiler(tmp_path) is None


@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="the wheel is not here")
def test_the_wheel_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    found = find_compiler(tmp_path)
    assert found is not None and found.command == (sys.executable, "-m", "ziglang", "cc")


def test_a_fault_is_told_by_its_first_line(compiler: Compiler, tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(BuildError, match=r"error:.*nothing"):
        compiler.build([source], tmp_path / "one")
    source.write_text("int main(void) { int x = 2147483647; volatile int y = 1; return x + y == 5; }\n")
    program = compiler.build([source], tmp_path / "one")
    if compiler.sanitizers:
        with pytest.raises(ProgramError, match="runtime error"):
            run(program)
    source.write_text("int main(void) { return 7; }\n")
    with pytest.raises(ProgramError, match=r"^it ends with code 7$"):
        run(compiler.build([source], tmp_path / "one"))
