"""A folder of every awkward kind of photograph: each is right, or one sentence that names the file.

TTFS_CUPY_PHOTOGRAPHS is how many good ones the folder holds, some hundreds without it.
"""

import logging
import os
import threading
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.damage import damaged_bytes
from helpers.datasets_on_disk import aged, write_images
from helpers.photographs import BAD, GOOD, GREY, noise
from helpers.refusals import refused_dataset, tree
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine import cores
from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.data import ImageSet, load_dataset
from ttfs_cupy.data.decoding import photograph
from ttfs_cupy.data.sources import folder
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import read_dataset

COUNT = int(os.environ.get("TTFS_CUPY_PHOTOGRAPHS", "300"))
SIZE = (12, 16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTFS_CUPY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one, whatever the machine has."""
    monkeypatch.setattr(cores, "usable_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")


def decoded(path: Path, size: tuple[int, int] | None = None, channels: int | None = None) -> np.ndarray:
    photograph.load_pillow()
    return photograph.decode(path, size, channels)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """By Pillow alone: covers the size, and is cut in the middle."""
    image = Image.fromarray(pixels)
    scale = max(size[0] / image.height, size[1] / image.width)
    covering = (max(size[1], int(image.width * scale + 1e-9)), max(size[0], int(image.height * scale + 1e-9)))
    image = image.resize(covering, Image.Resampling.BILINEAR)
    left, top = round((covering[0] - size[1]) / 2), round((covering[1] - size[0]) / 2)
    return np.array(image.crop((left, top, left + size[1], top + size[0])))


@pytest.mark.parametrize("kind", GOOD)
def test_each_kind_is_right(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"photograph{GOOD[kind].ending}"
    upright = GOOD[kind].make(path, 21, 34, np.random.default_rng(5))
    found = decoded(path)
    assert found.shape == (21, 34, 1 if kind in GREY else 3) and found.dtype == np.uint8
    assert np.array_equal(found.squeeze(-1) if kind in GREY else found, upright)


@pytest.mark.parametrize("kind", ["grey", "colour", "colour and alpha", "sixteen bits"])
def test_channels_as_asked_for(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"photograph{GOOD[kind].ending}"
    upright = Image.fromarray(GOOD[kind].make(path, 21, 34, np.random.default_rng(5)))
    assert np.array_equal(decoded(path, None, 1)[..., 0], np.array(upright.convert("L")))
    assert np.array_equal(decoded(path, None, 3), np.array(upright.convert("RGB")))


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(1, 40)] * 2), st.integers(1, 40), st.booleans())
def test_a_square_is_cut_out_as_torchvision_does(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], side: int, is_grey: bool
) -> None:
    path = tmp_path_factory.mktemp("one") / "photograph.png"
    pixels = noise(np.random.default_rng(0), *size, *([] if is_grey else [3]))
    Image.fromarray(pixels).save(path)
    expected = functional.center_crop(functional.resize(Image.fromarray(pixels), side), [side, side])
    found = decoded(path, (side, side))
    assert np.array_equal(found.squeeze(-1) if is_grey else found, np.array(expected))


@pytest.mark.parametrize("kind", BAD)
def test_each_bad_kind_is_one_sentence(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ending, make, words = BAD[kind]
    folder = tmp_path / "photographs"
    good = {number: noise(np.random.default_rng(number), 9, 9, 3) for number in range(3)}
    write_images(folder, {f"{name}/{number}.png": good[number] for name in ("cat", "dog") for number in good})
    bad = folder / "dog" / f"1 bäd{ending}"
    make(bad)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as caught:
            ImageSet.from_folder(folder, (8, 8))
    assert "\n" not in str(caught.value) and str(bad) in str(caught.value) and words in str(caught.value)
    # neither Pillow's warnings nor those of its libraries
    assert capfd.readouterr() == ("", "")


def test_pillows_own_limit_is_an_error_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photograph.png"
    Image.new("L", (30, 30)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match=f"{path} has more than"):
        decoded(path)


def test_what_is_too_narrow(tmp_path: Path) -> None:
    path = tmp_path / "photograph.png"
    Image.new("L", (1, 60_000)).save(path)
    with pytest.raises(UserError, match="is 60000 x 1 pixels: too narrow to be resized to 300 x 300"):
        decoded(path, (300, 300))


def test_damaged_exif_is_no_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "photograph.jpg"
    pixels = noise(np.random.default_rng(0), 9, 9, 3)
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + bytes(range(200)))
    with photograph.quiet():
        assert np.array_equal(decoded(path), np.array(Image.open(path)))


def test_as_many_threads_decode_as_the_config_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(160):
        path = tmp_path / "photographs" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path)
    started: list[int] = []

    def noted(count: int, name: str) -> ThreadPool:
        started.append(count)
        return ThreadPool(count, name)

    monkeypatch.setattr(folder, "ThreadPool", noted)
    for threads in ("null", "1", "3"):
        # nothing that is kept
        monkeypatch.setenv("TTFS_CUPY_CACHE", str(tmp_path / threads))
        root = f"data.root={tmp_path / 'photographs'}"
        config = load_config("quickstart", ["data.dataset=folder", root, f"threads={threads}"])
        assert len(read_dataset(config).train) == 128
    # the first one is the caller's own
    assert started == [3, 0, 2]
    with pytest.raises(UserError, match="threads must be a whole number from 1, not 0"):
        load_dataset("folder", tmp_path, threads=0)


@pytest.mark.parametrize("are_large", [True, False])
def test_large_images_are_decoded_one_at_a_time(
    are_large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image.png"
    Image.new("RGB", (30, 20)).save(path)
    monkeypatch.setattr(photograph, "MANY_PIXELS", 599 if are_large else 600)
    # passed by two threads that decode at the same time alone
    both, in_eight_bits = threading.Barrier(2), photograph._in_eight_bits

    def meeting(image: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5 if are_large else 30)
        return in_eight_bits(image)

    monkeypatch.setattr(photograph, "_in_eight_bits", meeting)
    with ThreadPool(2, "decoding") as pool:
        tasks = [pool.submit(decoded, path, (8, 8), 3) for _ in range(2)]
        assert [task.result().shape for task in tasks] == [(8, 8, 3)] * 2
    assert both.broken == are_large


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_file_is_the_same_whether_it_is_small(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"photograph{GOOD[kind].ending}"
    GOOD[kind].make(path, 9, 11, np.random.default_rng(0))
    small = decoded(path, (8, 8), 3)
    monkeypatch.setattr(photograph, "SMALL", 10)
    assert np.array_equal(decoded(path, (8, 8), 3), small)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.randoms(use_true_random=False))
def test_any_damage_is_an_image_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, kind: str, random: Random
) -> None:
    path = tmp_path_factory.mktemp("one") / f"photograph{GOOD[kind].ending}"
    GOOD[kind].make(path, 9, 11, np.random.default_rng(0))
    content = path.read_bytes()
    for _ in range(random.choice([1, 3, 20])):
        content = damaged_bytes(content, random)
    path.write_bytes(content)
    try:
        with photograph.quiet():
            assert decoded(path, (8, 8), 3).shape == (8, 8, 3)
    except UserError as error:
        assert str(path) in str(error) and str(error).isprintable()


def fill(root: Path, count: int) -> dict[str, np.ndarray]:
    """Photographs of all kinds in turn below root/train and root/test, some in deeper folders; by file, upright."""
    rng, kinds, upright = np.random.default_rng(0), list(GOOD), {}
    for number in range(count):
        kind = kinds[number % len(kinds)]
        half = "test" if number // len(kinds) % 4 == 3 else "train"
        name = ("Äpfel", "cat", "狗")[number % 3]
        folder = root / half / name / ("", "deep/er")[number % 7 == 0]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = (int(side) for side in rng.integers(8, 50, 2))
        path = folder / f"{number:06}{GOOD[kind].ending}"
        upright[str(path)] = GOOD[kind].make(path, height, width, rng)
    return upright


def test_a_folder_of_them(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "photographs"
    upright = fill(root, COUNT)
    # what is no image, and what is hidden
    for name in ("notes.txt", "Thumbs.db", ".hidden.png", ".thumbnails/1.png", "._resource.jpg"):
        path = root / "train" / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("nothing to see")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    (root / "train" / "labels.csv").write_text("")
    # a class folder that is a link, and an image that is one
    (root / "train" / "狗").rename(tmp_path / "elsewhere")
    (root / "train" / "狗").symlink_to(tmp_path / "elsewhere")
    (root / "test" / "cat" / "link.png").symlink_to(root / "train" / "cat" / "000001.png")
    upright[str(root / "test" / "cat" / "link.png")] = upright[str(root / "train" / "cat" / "000001.png")]
    aged(root)
    aged(tmp_path / "elsewhere")
    data = load_dataset("folder", root, size=SIZE)
    assert data.class_names == ("cat", "Äpfel", "狗") and data.classes == 3 and data.input_shape == (3, *SIZE)
    for half, images in (("train", data.train), ("test", data.test)):
        files = [Path(file) for file in upright if Path(file).is_relative_to(root / half)]
        classes = {file: file.relative_to(root / half).parts[0] for file in files}
        # by the path below the class folder, then by class
        files.sort(key=lambda file: (file.relative_to(root / half).parts[1:], classes[file]))
        assert [data.class_names[label] for label in images.labels] == [classes[file] for file in files]
        assert len(images) == len(files) and images.images.shape == (len(files), *SIZE, 3)
        for found, file in zip(images.images, files, strict=True):
            pixels = resized(upright[str(file)], SIZE)
            assert np.array_equal(found, pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)), file
    pixels = data.train.images / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2)), rel=1e-6)
    assert data.std == pytest.approx(pixels.std((0, 1, 2)), rel=1e-6)
    # and from the copy the same
    (entry,) = (cache / "datasets").iterdir()
    again = load_dataset("folder", root, size=SIZE)
    assert np.array_equal(again.train.images, data.train.images) and np.array_equal(again.mean, data.mean)
    assert again.class_names == data.class_names and np.array_equal(again.test.labels, data.test.labels)
    assert list((cache / "datasets").iterdir()) == [entry]


def test_with_bad_ones_among_them_the_first_is_named_and_nothing_kept(tmp_path: Path, cache: Path) -> None:
    root = tmp_path / "photographs"
    fill(root, max(COUNT, 250))
    for number, kind in ((70, "zero bytes"), (100, "text"), (30, "truncated png")):
        ending, make, _ = BAD[kind]
        make(root / "train" / "cat" / f"{number:06} bad{ending}")
    aged(root)
    before = tree(root)
    for _ in range(10):
        refused_dataset(root, "000030 bad.png is damaged", name="folder", size=(8, 8))
    assert tree(root) == before
    assert not list(cache.rglob("*folder*"))


def test_the_last_thread_that_leaves_undoes_the_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "filters", ["as before"])
    level = logging.getLogger("PIL").level
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(photograph.quiet())
        silent = list(warnings.filters)
        second.enter_context(photograph.quiet())
        first.close()
        assert warnings.filters == silent != ["as before"] and logging.getLogger("PIL").level == logging.CRITICAL
        second.close()
        assert warnings.filters == ["as before"] and logging.getLogger("PIL").level == level
