"""Images of one's own in .npz and .npy files: right, or one sentence, and never a byte beyond what the file holds."""

import os
import resource
import struct
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from helpers.damage import damaged_bytes
from helpers.refusals import refused_dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import ImageSet, load_dataset

refused = partial(refused_dataset, name="arrays")

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), np.uint8)
LABELS = np.arange(20) % 4
ARRAYS = {"images": PIXELS, "labels": LABELS, "test_images": PIXELS[:6, ...], "test_labels": LABELS[:6]}


def write(folder: Path, as_folder: bool = False, compressed: bool = True, **arrays: Any) -> Path:
    """Arrays by name in a .npz file, or in .npy files; its path."""
    folder.mkdir(exist_ok=True)
    if as_folder:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        return folder
    (np.savez_compressed if compressed else np.savez)(folder / "set.npz", **arrays)
    return folder / "set.npz"


@pytest.mark.parametrize(("as_folder", "compressed"), [(True, False), (False, False), (False, True)])
def test_reads_every_kind_of_file(as_folder: bool, compressed: bool, tmp_path: Path) -> None:
    path = write(tmp_path, as_folder, compressed, **ARRAYS, class_names=np.array(["a", "bé", "c", "d"]), more=PIXELS)
    data = load_dataset("arrays", path)
    assert (data.name, data.classes, data.input_shape) == ("arrays", 4, (3, 4, 5))
    assert data.class_names == ("a", "bé", "c", "d")
    assert np.array_equal(data.train.images, PIXELS) and np.array_equal(data.train.labels, LABELS)
    assert np.array_equal(data.test.images, PIXELS[:6]) and data.test.labels.dtype == np.int32
    assert data.mean == pytest.approx((PIXELS / 255).mean((0, 1, 2)))
    assert data.std == pytest.approx((PIXELS / 255).std((0, 1, 2)))


def test_without_a_test_half_a_share_of_each_class_is_one(tmp_path: Path) -> None:
    path = write(tmp_path, images=PIXELS, labels=LABELS)
    data = load_dataset("arrays", path)
    assert np.bincount(data.test.labels).tolist() == [1] * 4 and np.bincount(data.train.labels).tolist() == [4] * 4
    assert len(load_dataset("arrays", path, test=0.6).test) == 12
    assert data.class_names is None
    refused(write(tmp_path, **ARRAYS), "data.test has no effect", "has test_images: leave it out", test=0.5)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_floats_are_scaled(kind: Any, order: Any, tmp_path: Path) -> None:
    images = np.asarray(PIXELS / 255, kind, order=order)
    data = load_dataset("arrays", write(tmp_path, images=images, labels=LABELS, test_images=images, test_labels=LABELS))
    assert np.array_equal(data.train.images, np.rint(images.astype(float) * 255))
    if kind is not np.float16:
        assert np.array_equal(data.train.images, PIXELS)


@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 4, 5, 1), (20, 4, 5, 2), (20, 4, 5, 4)])
@pytest.mark.parametrize("kind", ["i1", "u1", "<i8", ">u4"])
def test_shapes_and_kinds_of_labels(shape: tuple[int, ...], kind: str, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    data = load_dataset("arrays", write(tmp_path, images=images, labels=LABELS.astype(kind)), test=0.4)
    assert data.train.images.shape == (12, 4, 5, shape[3] if len(shape) == 4 else 1)
    images_alone = ImageSet.from_arrays(images, LABELS.astype(kind))
    assert np.array_equal(images_alone.images.reshape(shape), images) and images_alone.labels.tolist() == [*LABELS]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": None}, "lacks the array images: it must hold images and labels"),
        ({"labels": None, "images": None}, "lacks the array images and labels"),
        ({"test_labels": None}, "lacks the array test_labels"),
        ({"test_images": None}, "lacks the array test_images"),
        ({"images": PIXELS.astype(int)}, "images must be uint8, or floats from 0 to 1, not int64"),
        ({"images": PIXELS > 9}, "images must be uint8, or floats from 0 to 1, not bool"),
        ({"images": PIXELS.astype(np.float32)}, "images are floats that reach from 0 to 255, not from 0 to 1"),
        ({"test_images": np.full((6, 4, 5, 3), np.nan)}, "test_images are floats that reach from nan to nan"),
        ({"images": PIXELS.transpose(0, 3, 1, 2)}, "images must have their channels last, (N, H, W, C) with 1 to 4"),
        ({"images": PIXELS[0, 0]}, "images must have the shape (N, H, W) or (N, H, W, C), not (5, 3)"),
        ({"images": PIXELS[:0], "labels": LABELS[:0]}, "images hold nothing: their shape is (0, 4, 5, 3)"),
        ({"test_images": PIXELS[:6, :3]}, "test_images are (3, 5, 3) each, but images are (4, 5, 3)"),
        ({"labels": LABELS[:-1]}, "holds 20 images but 19 labels"),
        ({"test_labels": LABELS[:5]}, "(test arrays) holds 6 images but 5 labels"),
        ({"labels": LABELS / 2}, "labels must be whole numbers of shape (N,), not float64 of shape (20,)"),
        ({"labels": LABELS[:, None]}, "not int64 of shape (20, 1)"),
        ({"labels": LABELS - 1}, "labels must count from 0 to less than 2^31, and one is -1"),
        ({"labels": LABELS.astype(np.uint64) + np.uint64(2**63)}, "and one is 9223372036854775811"),
        ({"labels": LABELS + 1}, "no label is 0, but one is 4: classes count from 0, without gaps"),
        ({"labels": LABELS * 0}, "labels are all 0, where at least two classes are needed"),
        ({"test_labels": LABELS[:6] + 3}, "holds the label 4, outside the 4 classes 0..3"),
        ({"labels": np.array([*"abcd"] * 5)}, "labels must be whole numbers of shape (N,), not <U1"),
        ({"class_names": np.array(["a"])}, "class_names must be text of shape (4,), one for each class"),
        ({"class_names": LABELS[:4]}, "class_names must be text of shape (4,)"),
        ({"class_names": np.array(["a", "b", "c", None])}, "Object arrays"),
        ({"images": PIXELS.astype(object)}, "Object arrays"),
        ({"labels": LABELS.astype([("a", int)])}, "not numbers or text"),
    ],
)
@pytest.mark.parametrize("as_folder", [True, False])
def test_arrays_that_are_no_images_and_labels(
    changes: dict[str, Any], words: str, as_folder: bool, tmp_path: Path
) -> None:
    arrays = {name: array for name, array in {**ARRAYS, **changes}.items() if array is not None}
    path = write(tmp_path / "set", as_folder, **arrays)
    words = "it holds 'object', not numbers or text" if words == "Object arrays" else words
    refused(path, str(path), words)


def test_absent_files(tmp_path: Path) -> None:
    refused(tmp_path / "nosuch.npz", f"{tmp_path / 'nosuch.npz'} is not there: it must be a .npz file, or a folder")
    refused(tmp_path, "lacks the array images and labels")


class Touch:
    """A pickle that runs a command when loaded."""

    def __reduce__(self) -> Any:
        return os.system, ("touch harm",)


def test_code_in_a_pickle_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for as_folder in (True, False):
        harmful = np.array([Touch()] * 20, object)
        refused(write(tmp_path / "set", as_folder, images=PIXELS, labels=harmful), "labels", "not numbers or text")
    assert not (tmp_path / "harm").exists()


def header(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


HEADERS = {
    "more than any memory": header("(1000000000000, 1000, 1000)"),
    "more than 64 bits": header(f"({10**30},)"),
    "less than nothing": header("(-20, 4, 5, 3)"),
    "two that undo each other": header("(-20, -4, 5, 3)"),
    "true": header("(True, 4, 5)"),
    "of no bytes": header("(5,)", "'|V0'"),
    "not to be parsed": header("(" * 3000),
    "a header of gigabytes": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1),
    "another version": b"\x93NUMPY\x09\x00" + bytes(100),
    "no array": b"no array at all",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("as_folder", [True, False])
def test_headers_that_promise_too_much(kind: str, as_folder: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "set", as_folder, labels=LABELS)
    if as_folder:
        (path / "images.npy").write_bytes(HEADERS[kind] + bytes(50))
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("images.npy", HEADERS[kind] + bytes(50))
    refused(path, str(path), "images", "is damaged, or no file of NumPy's")


def bomb(path: Path, **changes: Any) -> None:
    """A .npz of some kilobytes whose images would be 2 GB of zeros; `changes` of the zip's own record of them."""
    count = 1 << 21
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.npy", b"")
        with archive.open("images.npy", "w", force_zip64=True) as member:
            member.write(header(f"({count}, 32, 32)"))
            member.write(bytes(1 << 20))
        for name, value in changes.items():
            setattr(archive.getinfo("images.npy"), name, value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "bytes, where its header says 2147483"),
        ({"file_size": (1 << 31) + 72}, "cannot hold the 21474837"),
        ({"file_size": (1 << 31) + 72, "compress_size": 1 << 30}, "cannot hold the 21474837"),
        ({"compress_type": zipfile.ZIP_BZIP2}, "is compressed by another method than deflate"),
    ],
)
def test_a_zip_that_promises_too_much(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    bomb(tmp_path / "set.npz", **changes)
    program = "import sys; from ttfs_cupy.data import load_dataset; load_dataset('arrays', sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "set.npz"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)),
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert words in done.stderr and "UserError" in done.stderr and "MemoryError" not in done.stderr


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.randoms(use_true_random=False))
def test_any_damage_is_a_data_set_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, compressed: bool, random: Random
) -> None:
    path = write(tmp_path_factory.mktemp("one"), compressed=compressed, **ARRAYS)
    content = path.read_bytes()
    for _ in range(random.choice([0, 1, 3, 20])):
        content = damaged_bytes(content, random)
    path.write_bytes(content)
    try:
        data = load_dataset("arrays", path)
    except UserError as error:
        assert str(path) in str(error) and str(error).isprintable()
    else:
        assert len(data.train.images) == len(data.train.labels)


def test_arrays_in_memory_are_checked() -> None:
    with pytest.raises(UserError, match=r"images must be a numpy\.ndarray, not list"):
        ImageSet.from_arrays([[0]], LABELS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="images must be uint8, or floats"):
        ImageSet.from_arrays(PIXELS.astype(int), LABELS)
    with pytest.raises(UserError, match=r"labels must be int32 of shape \(20,\)"):
        ImageSet.from_arrays(PIXELS, LABELS[:5])
