"""The library of kernels: its cache, and the compilers that may build it."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.environments import python
from helpers.processes import ends, started

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.compilation import cpu_library

# only whether it is built matters here, and this takes a fifth of the time
QUICK = ("-O0",)
CODE = "import sys; from pathlib import Path; from ttfs_cupy.device.compilation import cpu_library"


@pytest.fixture(autouse=True)
def own_compiler(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A cache with one entry, that no process has loaded."""
    folder = tmp_path_factory.mktemp("built")
    outcome = python(f"{CODE}; cpu_library.load({QUICK}, Path({str(folder)!r}))", unset=["CXX"])
    assert outcome.returncode == 0, outcome.stderr
    return folder


@pytest.fixture
def cache(built, tmp_path):
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def no_build(monkeypatch):
    def refuse(*_):
        raise AssertionError("a build, though the cache has an entry")

    monkeypatch.setattr(cpu_library, "_build", refuse)


def entries(folder):
    return sorted(folder.iterdir())


def test_an_entry_is_used(cache, no_build):
    assert isinstance(cpu_library.load(QUICK, cache), ctypes.CDLL)


@pytest.mark.parametrize("change", ["flags", "source", "compiler", "cpu"])
def test_an_entry_is_not_used_for_something_else(change, cache, monkeypatch, no_build):
    flags = QUICK
    if change == "flags":
        flags = ("-O1",)
    elif change == "source":
        monkeypatch.setattr(cpu_library, "library_source", lambda: "int another;")
    elif change == "compiler":
        monkeypatch.setenv("CXX", cpu_library.find_compiler().command[0])
    else:
        monkeypatch.setattr(cpu_library, "_cpu_flags", lambda: "flags: fewer")
    with pytest.raises(AssertionError, match="a build"):
        cpu_library.load(flags, cache)


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:1000], lambda content: b"", lambda content: content[:-1] + bytes([content[-1] ^ 1])],
    ids=["truncated", "empty", "altered"],
)
def test_a_damaged_entry_is_rebuilt(cache, damage):
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    entry.write_bytes(damage(sound))
    library = cpu_library.load(QUICK, cache)
    assert library.ttfs_copy is not None
    (rebuilt,) = entries(cache)
    assert rebuilt.read_bytes()[:4] == b"\x7fELF" and len(rebuilt.read_bytes()) == len(sound)


def test_two_processes_at_once(tmp_path):
    # both look for an entry, find none, and wait for each other before they build
    code = (
        f"{CODE}; import time; folder, me, other = map(Path, sys.argv[1:]); build = cpu_library._build\n"
        "def together(*arguments):\n"
        "    me.touch()\n"
        "    while not other.exists(): time.sleep(0.01)\n"
        "    return build(*arguments)\n"
        "cpu_library._build = together\n"
        f"print(cpu_library.load({QUICK}, folder).ttfs_copy is not None)"
    )
    folder, here, there = tmp_path / "cache", tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *map(str, order)], stdout=subprocess.PIPE, text=True)
        for order in ((folder, here, there), (folder, there, here))
    ]
    assert [(process.communicate(timeout=100)[0], process.returncode) for process in processes] == [("True\n", 0)] * 2
    # nothing half-made is left, and what is left is sound
    for entry in entries(folder):
        assert entry.stem.endswith(cpu_library._digest(entry))


def test_a_warm_cache_needs_no_compiler(cache, monkeypatch, capfd):
    def missing():
        raise AssertionError("a compiler was looked for")

    monkeypatch.setattr(cpu_library, "find_compiler", missing)
    assert cpu_library.load(QUICK, cache).ttfs_copy is not None
    # and nobody is told of a build that does not take place
    assert capfd.readouterr() == ("", "")


def test_a_compiler_that_was_updated_builds_nothing_anew(cache, no_build, monkeypatch):
    other = cpu_library.Compiler(("g++",), (), "another version")
    monkeypatch.setattr(cpu_library, "find_compiler", lambda: other)
    assert cpu_library.load(QUICK, cache).ttfs_copy is not None


def test_where_the_package_is_installed_does_not_matter(cache, no_build, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(cpu_library.source.FOLDER, elsewhere)
    monkeypatch.setattr(cpu_library.source, "FOLDER", elsewhere)
    assert str(elsewhere) in cpu_library.library_source()
    assert cpu_library.load(QUICK, cache).ttfs_copy is not None


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class TestCompiler:
    @pytest.fixture(autouse=True)
    def only_here(self, tmp_path, monkeypatch):
        """No program on PATH but what a test puts into its folder."""
        monkeypatch.setenv("PATH", str(tmp_path))

    @pytest.fixture
    def no_ziglang(self, monkeypatch):
        monkeypatch.setattr(cpu_library.importlib.util, "find_spec", lambda name: None)

    def test_none_at_all(self, no_ziglang):
        with pytest.raises(
            UserError, match=r"no C\+\+ compiler was found.*install g\+\+ or clang\+\+.*ttfs-cupy\[cpu\]"
        ):
            cpu_library.find_compiler()

    @pytest.mark.parametrize("command", ["no-such-compiler", "no-such-compiler --fast"])
    def test_cxx_that_is_not_there(self, command, monkeypatch):
        monkeypatch.setenv("CXX", command)
        with pytest.raises(UserError, match=f"CXX={command} does not run, and the CPU needs one"):
            cpu_library.find_compiler()

    def test_cxx_that_fails(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CXX", str(program(tmp_path, "broken", "exit 1")))
        with pytest.raises(UserError, match="broken does not run"):
            cpu_library.find_compiler()

    def test_cxx_comes_first_with_its_arguments(self, tmp_path, monkeypatch):
        mine = program(tmp_path, "mine", 'echo "mine 1.0 $1"')
        program(tmp_path, "c++", "echo theirs")
        monkeypatch.setenv("CXX", f"{mine} -fast")
        assert str(cpu_library.find_compiler()) == "mine -fast (mine 1.0 -fast)"

    def test_those_on_path_in_order(self, tmp_path):
        program(tmp_path, "clang++", "echo clang 1")
        assert cpu_library.find_compiler().version == "clang 1"
        program(tmp_path, "g++", "echo gcc 1")
        assert cpu_library.find_compiler().version == "gcc 1"
        # one that does not run is passed over
        program(tmp_path, "c++", "exit 1")
        assert cpu_library.find_compiler().version == "gcc 1"

    def test_one_that_cannot_build(self, tmp_path, monkeypatch):
        script = 'if [ "$1" = --version ]; then echo odd 1; else echo "x.cpp:1: error: no"; echo more; exit 1; fi >&2'
        program(tmp_path, "g++", script)
        with pytest.raises(
            UserError, match=r"g\+\+ \(unknown version\) could not build the kernels: x.cpp:1: error: no$"
        ):
            cpu_library.load(QUICK, tmp_path)
        assert entries(tmp_path) == [tmp_path / "g++"]

    @pytest.mark.parametrize("listening", [True, False])
    def test_a_build_is_told_in_a_line(self, listening, tmp_path, caplog, capfd):
        program(tmp_path, "g++", '[ "$1" = --version ] && echo "gcc 1" && exit; exit 1')
        # a command listens to the log; a notebook does not
        with caplog.at_level("INFO" if listening else "WARNING", logger="ttfs_cupy"), pytest.raises(UserError):
            cpu_library.load(QUICK, tmp_path)
        (line,) = [record.message for record in caplog.records] if listening else capfd.readouterr().err.splitlines()
        assert line == "building the kernels for this CPU with g++ (gcc 1): once, for some seconds"

    @pytest.mark.parametrize("words", ["as: No space left on device", "LLVM ERROR: No space left on device (28)"])
    def test_a_full_disk_is_called_one(self, words, tmp_path):
        program(tmp_path, "g++", f'[ "$1" = --version ] && echo "gcc 1" && exit; echo "{words}" >&2; exit 1')
        with pytest.raises(UserError, match=f"cannot be built in {tmp_path}: its disk is full.*TTFS_CUPY_CACHE"):
            cpu_library.load(QUICK, tmp_path)

    def test_an_interruption_leaves_nothing(self, tmp_path):
        # a compiler hands its work to another process
        pids = tmp_path / "pids"
        script = f'[ "$1" = --version ] && echo "gcc 1" && exit; /bin/sleep 100 & echo $$ $! > {pids}; wait'
        program(tmp_path, "g++", script)
        code = f"{CODE}; cpu_library.load({QUICK}, Path({str(tmp_path)!r}))"
        process = started([sys.executable, "-c", code], {**os.environ, "PATH": str(tmp_path)})
        deadline = time.monotonic() + 30
        while not (pids.exists() and len(pids.read_text().split()) == 2):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=30)[1]
        assert all(ends(int(pid)) for pid in pids.read_text().split())
        assert {path.name for path in entries(tmp_path)} == {"g++", "pids"}

    def test_what_a_killed_build_left_is_removed(self, tmp_path):
        program(tmp_path, "g++", '[ "$1" = --version ] && echo "gcc 1" && exit; exit 1')
        old, new = tmp_path / "build-old", tmp_path / "build-new"
        for folder in (old, new):
            folder.mkdir()
            (folder / "kernels.cpp").touch()
        os.utime(old, times=(time.time() - 7200,) * 2)
        with pytest.raises(UserError):
            cpu_library.load(QUICK, tmp_path)
        # another process may be at work in the new one
        assert not old.exists() and new.exists()

    def test_ziglang_where_path_has_none(self, tmp_path, monkeypatch):
        pytest.importorskip("ziglang")
        zig = tmp_path / "zig"
        monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig))
        compiler = cpu_library.find_compiler()
        assert "ziglang" in str(compiler)
        folders = [tmp_path / "one", tmp_path / "another"]
        for folder in folders:
            folder.mkdir()
            assert cpu_library.load(QUICK, folder).ttfs_copy is not None
        assert zig.is_dir()
        # a C++ library that it first has to build would take more than a minute
        assert not list(zig.rglob("libc++*.a"))
        # the same to the byte, whatever the folder in which it was built is called
        (one,), (another,) = map(entries, folders)
        assert one.name == another.name and one.read_bytes() == another.read_bytes()

    def test_ziglang_of_a_user_without_a_home_to_write_to(self, tmp_path, monkeypatch):
        pytest.importorskip("ziglang")
        (tmp_path / "file").touch()
        monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        folder = tmp_path / "cache"
        folder.mkdir()
        assert cpu_library.load(QUICK, folder).ttfs_copy is not None
        assert len(entries(folder)) == 1
