"""Where compiled kernels are looked for and kept: caches of others, caches that cannot be written, a full disk."""

import ctypes
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.refusals import tree

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import cache
from ttfs_cupy.convolution.tuner import TuningCache
from ttfs_cupy.device.compilation import cpu_library

QUICK = ("-O0",)
NOBODY = 65534
IS_ROOT = os.getuid() == 0

# Everything is imported before the superuser's rights are given up, who may own the interpreter.
START = f"""
import os, sys, subprocess, tempfile, logging, encodings.idna
from pathlib import Path
from ttfs_cupy.common.files import cache
from ttfs_cupy.device.compilation import cpu_library
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)
"""
LOAD = f"{START}\nprint(cpu_library.load({QUICK})._name)"


@pytest.fixture
def world() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own are not, with a home and a place for temporary files."""
    folder = Path(tempfile.mkdtemp(prefix="world-"))
    folder.chmod(0o755)
    for name, mode in (("home", 0o777), ("tmp", 0o1777)):
        (folder / name).mkdir()
        (folder / name).chmod(mode)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o700)
    shutil.rmtree(folder)


def user(world: Path, code: str, path: str = os.environ["PATH"], **variables: str | Path) -> tuple[Path, str]:
    """What a user without the superuser's rights gets: the path that is printed, and what is said on stderr."""
    environment = {"HOME": str(world / "home"), "TMPDIR": str(world / "tmp"), "PATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**environment, **{name: str(value) for name, value in variables.items()}},
        timeout=100,
        check=False,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()), done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CXX", raising=False)
        cpu_library.load(QUICK, folder)
    return folder


@pytest.fixture
def made(built: Path, world: Path) -> Path:
    """A cache that somebody else has made."""
    return Path(shutil.copytree(built, world / "made"))


@pytest.fixture(autouse=True)
def own_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CXX", "TTFS_CUPY_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_a_ready_made_cache_is_used_and_nothing_written(made: Path, world: Path) -> None:
    made.chmod(0o555)
    before = tree(world)
    (entry,) = made.iterdir()
    # without a compiler, and without a word
    assert user(world, LOAD, path="", TTFS_CUPY_CACHE=made) == (entry, "")
    assert tree(world) == before


def test_what_a_read_only_cache_lacks_is_kept_in_the_user_s(made: Path, world: Path) -> None:
    (entry,) = made.iterdir()
    entry.rename(entry.with_name(f"kernels-of-old-{entry.stem[-20:]}.so"))
    made.chmod(0o555)
    built, said = user(world, LOAD, TTFS_CUPY_CACHE=made)
    assert built.parent == world / "home/.cache/ttfs_cupy"
    why, building = said.splitlines()
    assert str(made) in why and "Permission denied" in why and str(built.parent) in why
    assert building.startswith("building the kernels")
    assert user(world, LOAD, path="", TTFS_CUPY_CACHE=made) == (built, "")


def test_a_cache_that_another_user_closed(made: Path, world: Path) -> None:
    made.chmod(0o700 if IS_ROOT else 0o000)
    built, said = user(world, LOAD, TTFS_CUPY_CACHE=made)
    assert built.parent == world / "home/.cache/ttfs_cupy"
    assert str(made) in said and "Permission denied" in said and "set TTFS_CUPY_CACHE" in said
    assert user(world, LOAD, path="", TTFS_CUPY_CACHE=made) == (built, "")


def test_a_file_that_another_user_closed(made: Path, world: Path) -> None:
    # in a folder for all, where only its owner may replace it
    (entry,) = made.iterdir()
    entry.chmod(0o600 if IS_ROOT else 0o000)
    made.chmod(0o1777)
    built, said = user(world, LOAD, TTFS_CUPY_CACHE=made)
    assert built.parent == made and said.startswith("building the kernels")
    assert user(world, LOAD, path="", TTFS_CUPY_CACHE=made) == (built, "")


def test_without_any_cache_it_is_built_once_in_the_user_s_temporary_folder(world: Path) -> None:
    (world / "home").chmod(0o555)
    built, said = user(world, LOAD)
    own = built.parent
    assert own.parent == world / "tmp" and stat.S_IMODE(own.stat().st_mode) == 0o700
    assert str(world / "home") in said and "set TTFS_CUPY_CACHE" in said and len(said.splitlines()) == 2
    for _ in range(2):
        assert user(world, LOAD, path="") == (built, "")
    assert list((world / "tmp").iterdir()) == [own]
    assert list(own.iterdir()) == [built]


@pytest.mark.parametrize("trap", ["link", "open", "file", "another's", "above"])
def test_a_temporary_folder_that_may_be_a_trap(trap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    own = tmp_path / f"ttfs_cupy-{os.getuid()}"
    assert cache.cache_folder() == own
    if trap == "link":
        own.rmdir()
        (tmp_path / "theirs").mkdir(mode=0o700)
        own.symlink_to(tmp_path / "theirs")
    elif trap == "file":
        own.rmdir()
        own.touch(mode=0o700)
    elif trap == "open":
        own.chmod(0o770)
    elif trap == "above":
        # without the sticky bit, anybody could put another folder in its place
        tmp_path.chmod(0o777)
    elif not IS_ROOT:
        pytest.skip("only the superuser can give a folder away")
    else:
        os.chown(own, NOBODY, NOBODY)
    cache._folder_of_this_process.cache_clear()
    folder = cache.cache_folder()
    assert folder != own and own not in cache.places() and folder.stat().st_mode & 0o077 == 0
    cache._folder_of_this_process.cache_clear()


def test_no_place_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    (tmp_path / "file").touch()
    monkeypatch.setenv("TTFS_CUPY_CACHE", str(tmp_path / "file/mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(cache.tempfile, "gettempdir", none)
    with pytest.raises(UserError, match=r"no place.*file/mine.*Not a directory.*set TTFS_CUPY_CACHE"):
        cache.cache_folder()


def test_names_that_no_folder_can_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTFS_CUPY_CACHE", "a" * 5000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "ttfs_cupy"
    # to look there was an OSError, which ended every run
    assert list(cache.places()) == [tmp_path / "ttfs_cupy"]
    assert cpu_library.load() is not None


def test_the_home_sign_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder called ~ was made where one stood: only a shell, and not everywhere, puts the home there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TTFS_CUPY_CACHE", "~/mine")
    assert cache.cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("TTFS_CUPY_CACHE", "~nosuchuser/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "ttfs_cupy"


class TestFullDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
        """A disk of so many KiB."""
        folder = tmp_path / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={request.param}k", "tmpfs", str(folder)]
        if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this user may not mount a small disk")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)

    @pytest.mark.parametrize("disk", [300], indirect=True)
    def test_it_is_called_full_by_what_writes_to_it(self, disk: Path) -> None:
        with pytest.raises(UserError, match=f"cannot be built in {disk}: its disk is full: free some MiB"):
            cpu_library.load(QUICK, disk)
        assert list(disk.iterdir()) == []

    @pytest.mark.parametrize("disk", [300], indirect=True)
    def test_another_place_is_used(
        self, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("TTFS_CUPY_CACHE", str(disk))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert isinstance(cpu_library.load(QUICK), ctypes.CDLL)
        (said,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert f"{disk} cannot be written (No space left on device)" in said and str(tmp_path / "ttfs_cupy") in said


class TestTuning:
    """The tuner's file has the same places."""

    KEY, CHOICE, OTHER = "a layer", {"forward": "gemm"}, {"forward": "direct"}

    def test_a_ready_made_one_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        ready, own = tmp_path / "ready", tmp_path / "own"
        ready.mkdir()
        TuningCache(ready / "tuning.json").put(self.KEY, self.CHOICE)
        before = tree(tmp_path)
        monkeypatch.setattr(cache, "_trouble", lambda place: "read-only" if place == ready else None)
        monkeypatch.setenv("TTFS_CUPY_CACHE", str(ready))
        monkeypatch.setenv("XDG_CACHE_HOME", str(own))
        assert TuningCache().get(self.KEY) == self.CHOICE
        assert tree(tmp_path) == before
        # what it lacks is kept in the user's own
        (own / "ttfs_cupy").mkdir(parents=True)
        TuningCache().put("another layer", self.OTHER)
        assert TuningCache().get("another layer") == self.OTHER
        assert TuningCache().all() == {self.KEY: self.CHOICE, "another layer": self.OTHER}
        assert TuningCache(ready / "tuning.json").get("another layer") is None
