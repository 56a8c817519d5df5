"""Folders of class folders: which files are images of which half and class, and in which order."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.privileges import open_folder, without_privileges
from helpers.refusals import refused_dataset
from PIL import Image

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import ImageSet, load_dataset
from ttfs_cupy.data.sources import class_folders
from ttfs_cupy.data.sources.raw import Options

refused = partial(refused_dataset, name="folder")


def write(path: Path, value: int, size: tuple[int, int] = (4, 5), mode: str = "L") -> None:
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size[::-1], value if mode == "L" else (value, 0, 0)).save(path)


def values(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, three images of each for training and one for the test."""
    for half, count, base in (("train", 3, 0), ("test", 1, 100)):
        for label, name in enumerate(("a", "b")):
            for number in range(count):
                write(tmp_path / "set" / half / name / f"{number}.png", base + 10 * label + number)
    return tmp_path / "set"


def test_two_halves_in_the_order_of_the_files_names(root: Path) -> None:
    data = load_dataset("folder", root)
    assert values(data.train) == [0, 10, 1, 11, 2, 12] and data.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert values(data.test) == [100, 110] and data.test.labels.tolist() == [0, 1]
    assert (data.name, data.classes, data.class_names, data.input_shape) == ("folder", 2, ("a", "b"), (1, 4, 5))
    assert data.train.maximum == 255 and data.train.class_names == data.test.class_names == ("a", "b")


def test_one_folder_as_a_set(root: Path) -> None:
    images = ImageSet.from_folder(str(root / "train"))
    assert values(images) == [0, 10, 1, 11, 2, 12] and images.class_names == ("a", "b")
    assert images.images.shape == (6, 4, 5, 1) and images.labels.dtype == np.int32
    assert ImageSet.from_folder(root / "train", [3, 2], 3).images.shape == (6, 3, 2, 3)
    with pytest.raises(UserError, match="channels must be 1 or 3"):
        ImageSet.from_folder(root, channels=2)
    with pytest.raises(UserError, match=r"size must be \[height, width\]"):
        ImageSet.from_folder(root, size=32)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="path must be a folder's path"):
        ImageSet.from_folder(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"{root / 'nosuch'} cannot be read: no such file"):
        ImageSet.from_folder(root / "nosuch")


def test_without_halves_a_share_of_each_class_is_the_test(tmp_path: Path) -> None:
    for name, count in (("a", 10), ("b", 20), ("c", 2)):
        for number in range(count):
            write(tmp_path / "set" / name / f"{number:02}.png", 100 * "abc".index(name) + number)
    first, again = (load_dataset("folder", tmp_path / "set") for _ in range(2))
    assert np.bincount(first.train.labels).tolist() == [8, 16, 1]
    assert np.bincount(first.test.labels).tolist() == [2, 4, 1]
    assert values(first.test) == values(again.test)
    assert sorted(values(first.train) + values(first.test)) == [*range(10), *range(100, 120), 200, 201]
    half = load_dataset("folder", tmp_path / "set", test=0.5)
    assert np.bincount(half.test.labels).tolist() == [5, 10, 1]
    # what is held out of a class does not depend on the others
    for file in (tmp_path / "set" / "a").iterdir():
        file.unlink()
    (tmp_path / "set" / "a").rmdir()
    fewer = load_dataset("folder", tmp_path / "set")
    assert values(fewer.test) == [value for value in values(first.test) if value >= 100]


def test_a_class_of_one_image_has_none_for_the_test(tmp_path: Path) -> None:
    write(tmp_path / "set" / "a" / "1.png", 1)
    write(tmp_path / "set" / "b" / "1.png", 1)
    refused(tmp_path / "set", f"{tmp_path / 'set' / 'a'} holds one image")


def test_dividing_keeps_every_image() -> None:
    labels = np.random.default_rng(3).integers(0, 7, 1000)
    train, test = Options(test=0.3).halves(labels, str)
    assert sorted([*train, *test]) == [*range(1000)] and (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
    counts = np.bincount(labels)
    assert np.bincount(labels[test]).tolist() == [round(0.3 * count) for count in counts.tolist()]


def test_a_test_half_may_lack_a_class_and_have_none_of_its_own(root: Path) -> None:
    (root / "test" / "a" / "0.png").unlink()
    (root / "test" / "a").rmdir()
    data = load_dataset("folder", root)
    assert data.test.labels.tolist() == [1] and data.class_names == ("a", "b")
    write(root / "test" / "c" / "0.png", 1)
    refused(root, f"{root / 'test'} holds 'c', no class of the training half")


def test_halves_have_no_share_of_a_test(root: Path) -> None:
    refused(root, f"data.test has no effect, as {root} has train and test: leave it out", test=0.1)


def test_one_half_alone_is_a_mistake(root: Path) -> None:
    (root / "test").rename(root.parent / "away")
    refused(root, f"{root} has train but no test: add it, or let data.root be {root / 'train'}")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("car", "train"):
        for number in range(5):
            write(tmp_path / name / f"{number}.png", number)
    assert load_dataset("folder", tmp_path).class_names == ("car", "train")


@pytest.mark.parametrize("names", [[], ["a"]])
def test_too_few_classes(names: list[str], tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    write(tmp_path / "set" / "beside.png", 1)
    for name in names:
        write(tmp_path / "set" / name / "1.png", 1)
    found = "the class folder 'a' alone" if names else "no class folder"
    refused(tmp_path / "set", f"{tmp_path / 'set'} holds {found}, where images are to lie in one folder a class")


@pytest.mark.parametrize("half", ["train", "test"])
def test_an_empty_class_folder_is_named(half: str, root: Path) -> None:
    (root / half / "b" / "0.png").unlink()
    for file in (root / half / "b").iterdir():
        file.rename(file.with_suffix(".txt"))
    refused(root, f"the class folder {root / half / 'b'} holds no image, no file that ends in .jpg, .jpeg, .png")


def test_an_empty_test_half(root: Path) -> None:
    for name in ("a", "b"):
        (root / "test" / name / "0.png").unlink()
        (root / "test" / name).rmdir()
    refused(root, f"{root / 'test'} holds no class folder")


def test_absent_or_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nosuch", f"the folder {tmp_path / 'nosuch'} cannot be read: no such file")
    refused(tmp_path / ("x" * 300), "cannot be read: File name too long")
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "cannot be read: its symbolic links lead in a circle")
    (tmp_path / "file").touch()
    refused(tmp_path / "file", f"the folder {tmp_path / 'file'} cannot be read: it is a file, not a folder")


def test_what_may_not_be_read() -> None:
    with open_folder() as folder:
        for name in ("a", "b"):
            for number in range(3):
                write(folder / name / f"{number}.png", number)
        (folder / "a" / "1.png").chmod(0)
        with without_privileges():
            refused(folder, f"{folder / 'a' / '1.png'} cannot be read: Permission denied")
        (folder / "a" / "1.png").chmod(0o644)
        (folder / "b").chmod(0)
        with without_privileges():
            refused(folder, f"the folder {folder / 'b'} cannot be read: Permission denied")
        (folder / "b").chmod(0o755)


def test_images_of_two_sizes(root: Path) -> None:
    write(root / "train" / "b" / "1.png", 1, size=(7, 9))
    file, first = root / "train" / "b" / "1.png", root / "train" / "a" / "0.png"
    refused(root, f"{file} is 7 x 9 pixels, but {first} is 4 x 5: set data.size to [height, width] for all")
    assert load_dataset("folder", root, size=(3, 3)).input_shape == (1, 3, 3)


@pytest.mark.parametrize("where", ["train/a/0.png", "test/b/0.png"])
def test_one_colour_image_makes_all_three_channels(where: str, root: Path) -> None:
    write(root / where, 77, mode="RGB")
    data = load_dataset("folder", root)
    assert data.input_shape == (3, 4, 5) and data.test.images.shape == (2, 4, 5, 3)
    assert (data.train.images[1] == 10).all()
    assert load_dataset("folder", root, channels=1).input_shape == (1, 4, 5)
    assert load_dataset("folder", root, channels=3).input_shape == (3, 4, 5)


def test_a_link_that_leads_back(root: Path) -> None:
    (root / "train" / "a" / "deep").mkdir()
    (root / "train" / "a" / "deep" / "loop").symlink_to(root / "train" / "a")
    refused(root, f"{root / 'train' / 'a' / 'deep' / 'loop'} is a link that leads back to a folder above it")


@pytest.mark.parametrize("to", [".", "train", "train/a"])
def test_of_a_link_that_leads_back_the_link_is_named(to: str, root: Path) -> None:
    """Not the real folder that is seen again by way of it: it is to be removed."""
    link = root / "train" / "a" / "link"
    link.symlink_to(root / to)
    refused(root, f"{link} is a link that leads back to a folder above it: remove it")


def test_links_that_multiply(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two in each of 30 folders a walk would never end."""
    folders = root.parent / "folders"
    for depth in range(30):
        (folders / str(depth)).mkdir(parents=True)
        for name in ("x", "y"):
            (folders / str(depth) / name).symlink_to(folders / str(depth + 1))
    (folders / "30").mkdir()
    (root / "train" / "a" / "many").symlink_to(folders / "0")
    monkeypatch.setattr(class_folders, "MOST_FOLDERS", 1000)
    refused(root, f"{root / 'train' / 'a'} holds more than 1000 folders")


def test_a_class_folder_that_is_a_broken_link(root: Path) -> None:
    (root / "train" / "c").symlink_to("nowhere")
    refused(root, f"{root / 'train' / 'c'} is a link that leads nowhere")


def test_names_that_are_no_text(root: Path) -> None:
    """Bytes that are no UTF-8, and a line's end."""
    for half in ("train", "test"):
        write(root / half / os.fsdecode(b"\xff\n") / "1.png", 9)
    data = load_dataset("folder", root)
    assert data.class_names == ("a", "b", "\udcff\n")
    (root / "train" / "\udcff\n" / "1.png").write_text("")
    refused(root, f"{root}/train/\\udcff\\n/1.png is empty")


def test_ctrl_c_ends_all_threads(root: Path) -> None:
    """The first image that the main thread decodes stands for Ctrl-C; the others would take minutes."""
    program = """
import sys, threading, time
from ttfs_cupy.data import load_dataset
from ttfs_cupy.data.sources import folder
folder.CHUNK = 1
real = folder.decode
calls = []
def decode(*arguments):
    calls.append(arguments)
    if len(calls) > 3:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        time.sleep(0.2)
    return real(*arguments)
folder.decode = decode
try:
    load_dataset("folder", sys.argv[1])
except KeyboardInterrupt:
    print("interrupted after", len(calls) < 100)
"""
    for number in range(400):
        write(root / "train" / "a" / f"more-{number}.png", 1)
    done = subprocess.run(
        [sys.executable, "-c", program, str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
    )
    assert (done.stdout, done.stderr) == ("interrupted after True\n", "")


def test_without_pillow(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused(root, "Pillow is", "pip install pillow")


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("mnist", {"size": (3, 3)}, "size has no effect with dataset mnist: leave it out, or choose events or folder"),
        ("arrays", {"channels": 1}, "channels has no effect with dataset arrays: leave it out, or choose folder"),
        ("digits", {"test": 0.5}, "test has no effect with dataset digits: leave it out, or choose folder or arrays"),
        ("folder", {"test": 1}, "test must be a number above 0, below 1, not 1"),
        ("folder", {"test": float("nan")}, "test must be a number above 0, below 1, not nan"),
        ("folder", {"size": (3, 0)}, "each side of size must be a whole number from 1 to 4096, not 0"),
        ("folder", {"size": (3, 3, 3)}, "size must be [height, width], such as [32, 32], not (3, 3, 3)"),
        ("folder", {"channels": True}, "channels must be 1 or 3, or null, not true"),
        ("folder", {"channels": np.ones(3)}, "channels must be 1 or 3, or null, not array"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    refused_dataset(tmp_path, sentence, name=name, **options)
