"""The decoded copies that are kept for the next start: the same data, never half of them, never of other files."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.datasets_on_disk import (
    aged,
    write_cifar10,
    write_cifar100,
    write_emnist,
    write_events,
    write_images,
    write_mnist,
    write_qmnist,
    write_stl10,
    write_svhn,
)
from helpers.refusals import refused_dataset
from helpers.waiting import wait_until
from PIL import Image

from ttfs_cupy.data import Dataset, load_dataset
from ttfs_cupy.data.sources import datasets, kept, mnist


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTFS_CUPY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    return tmp_path / "cache" / "datasets"


def photographs(root: Path) -> None:
    images = {
        f"{half}/{name}/{number}.png": np.full((5, 6, 3), (label, number, 9), np.uint8)
        for half in ("train", "test")
        for label, name in enumerate(("a", "b"))
        for number in range(4)
    }
    write_images(root, images)


WRITERS = {
    "mnist": lambda root: write_mnist(root, train=30, test=10),
    "fmnist": lambda root: write_mnist(root, "fmnist", train=30, test=10),
    "emnist": lambda root: write_emnist(root, train=94, test=47),
    "qmnist": lambda root: write_qmnist(root, train=30, test=10),
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "svhn": write_svhn,
    "stl10": write_stl10,
    "events": write_events,
    "folder": photographs,
}


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    WRITERS[request.param](tmp_path / "root")
    aged(tmp_path / "root")
    return request.param


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of photographs that were not written just now."""
    photographs(tmp_path / "root")
    aged(tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def loaded(root: Path, cache: Path) -> tuple[Dataset, Path]:
    """The data set of `root`, and the copy that is kept of it."""
    data = load_dataset("folder", root)
    (entry,) = cache.iterdir()
    return data, entry


def same(one: Dataset, other: Dataset) -> bool:
    halves = ((one.train, other.train), (one.test, other.test))
    arrays = [*((a.images, b.images) for a, b in halves), *((a.labels, b.labels) for a, b in halves)]
    arrays += [(one.mean, other.mean), (one.std, other.std)]
    facts = [(d.name, d.classes, d.class_names, d.train.maximum, d.test.maximum, d.input_shape) for d in (one, other)]
    is_alike = all(a.dtype == b.dtype and np.array_equal(a, b) and b.flags.c_contiguous for a, b in arrays)
    return is_alike and facts[0] == facts[1] and one.test.class_names == other.test.class_names


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Takes the name of each data set that is decoded from here on."""
    seen: list[str] = []
    real = datasets._read
    monkeypatch.setattr(datasets, "_read", lambda name, *more: seen.append(name) or real(name, *more))  # type: ignore[func-returns-value]
    return seen


def test_the_second_start_reads_the_copy(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = decodes(monkeypatch)
    first, again = (load_dataset(name, tmp_path / "root") for _ in range(2))
    assert same(first, again) and seen == [name]
    (entry,) = cache.iterdir()
    assert entry.name.startswith(f"{name}-") and cache.stat().st_mode & 0o777 == 0o700
    again.train.images.setflags(write=True)
    again.train.images[:] = 0  # nobody else's
    assert same(first, load_dataset(name, tmp_path / "root"))


def test_an_archive_is_known_by_what_is_unpacked_of_it(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar10(tmp_path / "root")
    aged(folder)
    shutil.make_archive(str(tmp_path / "root" / "cifar-10-python"), "gztar", tmp_path / "root", folder.name)
    shutil.rmtree(folder)
    seen = decodes(monkeypatch)
    first, again = (load_dataset("cifar10", tmp_path / "root") for _ in range(2))
    assert same(first, again) and seen == ["cifar10"] and len(list(cache.iterdir())) == 1


def test_neither_torchvision_nor_torch_is_imported(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "root", archive=True)
    program = """
import sys
from ttfs_cupy.data import load_dataset
load_dataset("cifar10", sys.argv[1])
print(sorted({"torch", "torchvision", "PIL", "sklearn"} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", program, tmp_path / "root"], check=True, capture_output=True, text=True)
    assert run.stdout.split() == ["[]"]


@pytest.mark.parametrize(
    "change", ["content", "the same time", "another file", "one more", "one fewer", "one renamed", "another class"]
)
def test_other_files_are_decoded(change: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_dataset("folder", root)
    file = root / "train" / "b" / "2.png"
    status = file.stat()
    if change in ("content", "the same time"):
        with file.open("r+b") as opened:
            content = opened.read()
            Image.new("RGB", (6, 5), (1, 2, 8)).save(tmp_path / "other.png")
            changed = (tmp_path / "other.png").read_bytes()
            assert len(changed) == len(content) and changed != content
            opened.seek(0)
            opened.write(changed)
        if change == "the same time":
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif change == "another file":
        shutil.copy2(file, tmp_path / "copy.png")
        (tmp_path / "copy.png").replace(file)
    elif change == "one more":
        shutil.copy2(file, file.with_name("9.png"))
    elif change == "one fewer":
        file.unlink()
    elif change == "one renamed":
        file.rename(file.with_name("0a.png"))
    else:
        for half in ("train", "test"):
            (root / half / "b").rename(root / half / "c")
    seen = decodes(monkeypatch)
    data = load_dataset("folder", root)
    assert seen == ["folder"]
    monkeypatch.setattr(kept, "fetch", lambda _: None)
    assert same(data, load_dataset("folder", root))


def test_each_option_has_a_copy_of_its_own(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = decodes(monkeypatch)
    for _ in range(2):
        assert load_dataset("folder", root).input_shape == (3, 5, 6)
        assert load_dataset("folder", root, size=(3, 3)).input_shape == (3, 3, 3)
        assert load_dataset("folder", root, channels=1).input_shape == (1, 5, 6)
        assert len(load_dataset("folder", root / "train", test=0.25).test) == 2
        assert len(load_dataset("folder", root / "train", test=0.5).test) == 4
    assert len(seen) == len(list(cache.iterdir())) == 5
    monkeypatch.setattr(kept, "VERSION", 2)
    load_dataset("folder", root)
    assert len(seen) == 6


def test_so_have_the_options_of_recordings(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_events(tmp_path / "root", train=6, test=3)
    aged(tmp_path / "root")
    seen = decodes(monkeypatch)
    for _ in range(2):
        whole = load_dataset("events", tmp_path / "root")
        assert load_dataset("events", tmp_path / "root", size=(9, 8)).input_shape == (2, 9, 8)
        early = load_dataset("events", tmp_path / "root", time_window=1000)
        assert (early.train.images > 0).sum() < (whole.train.images > 0).sum()
    assert len(seen) == len(list(cache.iterdir())) == 3
    other = "0" if kept._version_of("tonic") == "1" else "1"
    monkeypatch.setattr(kept, "_version_of", lambda _: other)
    load_dataset("events", tmp_path / "root")
    assert len(seen) == 4


def test_idx_files_that_are_not_gzipped_are_read_as_soon_as_a_copy_would_be(tmp_path: Path, cache: Path) -> None:
    write_mnist(tmp_path / "root", zipped=False)
    aged(tmp_path / "root")
    load_dataset("mnist", tmp_path / "root")
    assert not cache.exists()


def test_what_was_written_just_now_is_not_kept(tmp_path: Path, cache: Path) -> None:
    """It may be written again within the same tick of its file system's clock."""
    photographs(tmp_path / "root")
    load_dataset("folder", tmp_path / "root")
    assert not cache.exists()


def test_what_changes_while_it_is_read_is_not_kept(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = datasets._read

    def read(*arguments: object) -> Dataset:
        data = real(*arguments)  # type: ignore[arg-type]
        os.utime(root / "train" / "a" / "1.png", (2e9 / 2, 1.1e9))
        return data

    monkeypatch.setattr(datasets, "_read", read)
    load_dataset("folder", root)
    assert not cache.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.02, 0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize("damage", ["flipped", "cut", "longer", "zeros"])
def test_a_damaged_copy_is_made_anew(
    share: float, damage: str, root: Path, cache: Path, loaded: tuple[Dataset, Path]
) -> None:
    first, entry = loaded
    whole = entry.read_bytes()
    place = int(share * len(whole))
    flipped = bytes([whole[place] ^ 1])
    damaged = {
        "flipped": whole[:place] + flipped + whole[place + 1 :],
        "cut": whole[:place],
        "longer": whole[:place] + b"x" + whole[place:],
        "zeros": whole[:place] + bytes(len(whole) - place),
    }[damage]
    entry.write_bytes(damaged)
    assert same(first, load_dataset("folder", root))
    assert entry.read_bytes() == whole and list(cache.iterdir()) == [entry]


def test_a_header_that_lies_takes_no_memory(root: Path, loaded: tuple[Dataset, Path]) -> None:
    first, entry = loaded
    line, _, rest = entry.read_bytes().partition(b"\n")
    for arrays in ([["|u1", [10**9, 10**9], 0]] * 4, [["|O", [1], 0]] * 4, [], None, [["|u1", [-1], 0]] * 4):
        header = json.dumps({**json.loads(line[9:]), "arrays": arrays}).encode()
        entry.write_bytes(b"%08x %s\n" % (zlib.crc32(header), header) + rest)
        assert same(first, load_dataset("folder", root))


@pytest.mark.parametrize("kind", ["directory", "pipe", "loop"])
def test_what_is_no_file_in_place_of_a_copy(kind: str, root: Path, loaded: tuple[Dataset, Path]) -> None:
    first, entry = loaded
    entry.unlink()
    {"directory": entry.mkdir, "pipe": lambda: os.mkfifo(entry), "loop": lambda: entry.symlink_to(entry)}[kind]()
    assert same(first, load_dataset("folder", root))


def test_damaged_files_are_refused_with_and_without_a_copy(name: str, tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "root"
    load_dataset(name, root)
    file = max((path for path in root.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-30])
    aged(root)
    for _ in range(2):
        refused_dataset(root, file, name=name)
    shutil.rmtree(cache)
    refused_dataset(root, file, name=name)
    assert not cache.exists()


def test_where_nothing_can_be_kept_the_log_says_so(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ttfs_cupy")
    monkeypatch.setattr(kept, "SPARE_BYTES", 1 << 60)
    load_dataset("folder", root)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the decoded data set folder is not kept for the next start: the disk of {cache} is nearly full"
    )
    assert list(cache.iterdir()) == []
    shutil.rmtree(cache)
    cache.touch()
    load_dataset("folder", root)
    assert len(caplog.records) == 2 and "is not kept for the next start" in caplog.text


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("mount") is None, reason="needs a disk of its own")
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "none", disk], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        monkeypatch.setenv("TTFS_CUPY_CACHE", str(disk))
        monkeypatch.setattr(kept, "SPARE_BYTES", -(1 << 40))
        write_cifar10(tmp_path / "root", train=3500, test=10)
        aged(tmp_path / "root")
        assert len(load_dataset("cifar10", tmp_path / "root").train) == 3500
        assert list((disk / "datasets").iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_was_used_longest_ago_goes_first(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sides = (3, 4, 5)

    def load(side: int) -> None:
        load_dataset("folder", root, size=(side, side))

    entries = {}
    for side in sides:
        before = set(cache.iterdir()) if cache.exists() else set()
        load(side)
        (entries[side],) = set(cache.iterdir()) - before
        os.utime(entries[side], (1e9 + side, 1e9 + side))
    # used again: no longer the oldest
    load(3)
    left = cache / ".folder-0123-abcdef01"
    left.write_bytes(bytes(5000))
    os.utime(left, (1e9, 1e9))
    recent = cache / ".folder-0123-abcdef02"
    recent.write_bytes(b"")
    monkeypatch.setattr(kept, "MOST_BYTES", sum(entries[side].stat().st_size for side in sides) + 200)
    load(6)
    assert not entries[4].exists() and not left.exists() and recent.exists()
    assert entries[3].exists()
    caplog.set_level(logging.INFO, "ttfs_cupy")
    before = set(cache.iterdir())
    monkeypatch.setattr(kept, "MOST_BYTES", 100)
    load(7)
    assert set(cache.iterdir()) == before and "all that are kept may have 100" in caplog.text


def test_a_copy_elsewhere_is_used_and_nothing_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ready-made cache that may only be read."""
    first = load_dataset("folder", root)
    seen = decodes(monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    assert same(first, load_dataset("folder", root)) and seen == []
    assert sorted(tmp_path.rglob("*")) == before


LOAD = """
import sys
from ttfs_cupy.data import load_dataset
for _ in range(int(sys.argv[2])):
    data = load_dataset("cifar10", sys.argv[1])
print(int(data.train.images.sum()), len(data.test))
"""


def test_several_at_once(tmp_path: Path, cache: Path) -> None:
    write_cifar10(tmp_path / "root", train=500)
    aged(tmp_path / "root")
    command = [sys.executable, "-c", LOAD, str(tmp_path / "root"), "3"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate(timeout=60) for process in running}
    assert len(said) == 1 and said.pop()[1] == ""
    assert len(list(cache.iterdir())) == 1


def test_a_kill_leaves_nothing_half(tmp_path: Path, cache: Path) -> None:
    """Killed at moments all over the writing of a copy, which is there whole or not at all."""
    write_cifar10(tmp_path / "root", train=4000)
    aged(tmp_path / "root")
    first = load_dataset("cifar10", tmp_path / "root")
    (entry,) = cache.iterdir()
    whole = entry.read_bytes()
    for number in range(4):
        shutil.rmtree(cache)
        process = subprocess.Popen([sys.executable, "-c", LOAD, str(tmp_path / "root"), "1"], stdout=subprocess.DEVNULL)
        wait_until(lambda: cache.exists() and any(cache.iterdir()))
        time.sleep(0.002 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not entry.exists() or entry.read_bytes() == whole
        assert same(first, load_dataset("cifar10", tmp_path / "root"))
        assert entry.read_bytes() == whole
