"""Recordings of event cameras: what becomes of their events, the formats, folders, and what is refused."""

import importlib.util
import io
import random
import shutil
import struct
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import evaluate, metrics, small, train
from helpers.datasets_on_disk import EVENT, npz_columns, recording, write_events, write_mnist, write_recording
from helpers.refusals import refused
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import load_dataset
from ttfs_cupy.data.sources.events import first_spikes
from ttfs_cupy.data.sources.recordings import Events, read_recording


def needs_tonic(ending: str) -> Any:
    """A parameter that is left out where tonic, which is no part of the extra `test`, is not installed."""
    return pytest.param(ending, marks=pytest.mark.skipif(not has_tonic(), reason="tonic is not installed"))


def has_tonic() -> bool:
    return importlib.util.find_spec("tonic") is not None


ENDINGS = [".npy", ".npz", needs_tonic(".bin"), needs_tonic(".aedat")]


def one_by_one(events: Any, shape: tuple[int, int], window: int) -> np.ndarray:
    """The image by its definition: the step, of 255, in which a pixel's first event is."""
    image = np.zeros((*shape, 2), np.uint8)
    start = min(event["t"] for event in events)
    for event in events:
        since = int(event["t"]) - int(start)
        if since < window:
            place = (event["y"], event["x"], int(event["p"] > 0))
            image[place] = max(image[place], 255 - 255 * since // window)
    return image


# The image


def events_of(*rows: tuple[int, int, int, int]) -> Events:
    x, y, t, p = np.array(rows, np.int64).T
    return Events(x, y, t, p)


def test_the_first_event_of_each_pixel_and_polarity_counts() -> None:
    events = events_of((0, 0, 0, 1), (2, 1, 50, 0), (2, 1, 10, 0), (2, 1, 99, 1), (0, 0, 60, 1))
    image = first_spikes(events)
    assert image.shape == (2, 3, 2)
    silent = np.zeros_like(image)
    # 100 microseconds: from the first event to the last one, both within
    silent[0, 0, 1], silent[1, 2, 0], silent[1, 2, 1] = 255, 255 - 255 * 10 // 100, 255 - 255 * 99 // 100
    assert np.array_equal(image, silent) and image[1, 2, 1] == 3


def test_a_window_has_255_steps_of_equal_length() -> None:
    """From 255, the first, to 1, the last; what comes after the window is silent."""
    events = events_of(*((column, 0, column, 0) for column in range(520)))
    image = first_spikes(events, time_window=510)[0, :, 0]
    assert image[:510].tolist() == np.repeat(np.arange(255, 0, -1), 2).tolist()
    assert image[510:].tolist() == [0] * 10


def test_a_recording_of_one_moment_is_as_early_as_can_be() -> None:
    assert first_spikes(events_of((1, 0, 0, 0), (0, 1, 0, 1))).tolist() == [[[0, 0], [255, 0]], [[0, 255], [0, 0]]]


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(-(2**47), 2**47 - 1), st.booleans()), min_size=1
    ),
    window=st.one_of(st.none(), st.integers(1, 2**48)),
)
def test_as_defined(rows: list[tuple[int, int, int, bool]], window: int | None, tmp_path_factory: Any) -> None:
    events = np.array(rows, EVENT)
    file = tmp_path_factory.getbasetemp() / "any.npy"
    np.save(file, events)
    image = first_spikes(read_recording(file), (4, 5), window)
    length = int(events["t"].max()) - int(events["t"].min()) + 1
    assert np.array_equal(image, one_by_one(events, (4, 5), length if window is None else window))


# Formats


@pytest.mark.parametrize("ending", ENDINGS)
def test_formats(ending: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3, ending=ending)
    data = load_dataset("events", tmp_path, size=(8, 8), time_window=50_000)
    assert (data.name, data.classes, data.input_shape) == ("events", 3, (2, 8, 8))
    assert data.train.labels.tolist() == [0, 0, 1, 1, 2, 2] and data.test.labels.tolist() == [0, 1, 2]
    for half, first, numbers in ((data.train, 0, (0, 3, 1, 4, 2, 5)), (data.test, 1000, (0, 1, 2))):
        for image, label, number in zip(half.images, half.labels, numbers, strict=True):
            assert np.array_equal(image, one_by_one(recording(label, first + number), (8, 8), 50_000))


@pytest.mark.parametrize(
    "types",
    [
        [("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("p", "i1")],
        [("x", ">i4"), ("y", ">i4"), ("p", "?"), ("t", ">u4"), ("more", "f4")],
        [("x", "i1"), ("y", "u1"), ("t", "i1"), ("p", "u1")],
    ],
)
@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_integers_of_any_size_and_byte_order(types: Any, ending: str, tmp_path: Path) -> None:
    """Times of a byte would overflow as they are taken from each other, polarities of -1 are 0."""
    times = [-128, 127, 3, 100] if types[2] == ("t", "i1") else [2**32 - 1, 7, 2**31, 2**31 + 5]
    polarities = [1, -1, -1, 1] if types[3] == ("p", "i1") else [1, 0, 0, 1]
    events = np.zeros(4, types)
    for name, values in {"x": [0, 1, 2, 3], "y": [3, 2, 1, 0], "t": times, "p": polarities}.items():
        events[name] = values
    file = tmp_path / f"one{ending}"
    write_recording(file, events)
    read = read_recording(file)
    assert read.t.tolist() == [time - min(times) for time in times]
    assert read.x.tolist() == [0, 1, 2, 3] and read.p.tolist() == [1, 0, 0, 1]
    assert all(column.dtype == np.int64 for column in read)


def test_times_beyond_int64(tmp_path: Path) -> None:
    events = np.zeros(2, [("x", "u2"), ("y", "u2"), ("t", "u8"), ("p", "?")])
    events["t"] = [2**64 - 1, 2**64 - 6]
    np.save(tmp_path / "one.npy", events)
    assert read_recording(tmp_path / "one.npy").t.tolist() == [5, 0]


@pytest.mark.skipif(not has_tonic(), reason="tonic is not installed")
def test_overflows_of_time_in_n_mnists_format(tmp_path: Path) -> None:
    rows = [(1, 2, 0, 5), (0, 240, 0, 0), (3, 4, 128, 9), (0, 240, 0, 0), (5, 6, 128, 1)]
    (tmp_path / "one.BIN").write_bytes(b"".join(bytes([x, y, p, 0, t]) for x, y, p, t in rows))
    read = read_recording(tmp_path / "one.BIN")
    assert read.t.tolist() == [0, 8192 + 4, 2 * 8192 - 4]
    assert read.y.tolist() == [2, 4, 6] and read.p.tolist() == [0, 1, 1]


@pytest.mark.skipif(not has_tonic(), reason="tonic is not installed")
def test_what_a_dvs128_says_beside_its_pixels_is_no_event(tmp_path: Path) -> None:
    write_recording(tmp_path / "one.aedat", recording(0, 0))
    with (tmp_path / "one.aedat").open("ab") as file:
        file.write(struct.pack(">2I", 0x8000 | 5 << 8, 1))
    read = read_recording(tmp_path / "one.aedat")
    assert len(read.t) == 60 and read.t.min() == 0


# Folders


def test_without_a_size_all_are_as_large_as_the_largest(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    wide = np.zeros(1, EVENT)
    wide["x"], wide["y"] = 11, 2
    np.save(tmp_path / "test" / "class 1" / "wide.npy", wide)
    data = load_dataset("events", tmp_path)
    assert data.input_shape == (2, 8, 12)
    assert data.train.images[:, :, 8:].max() == 0 and data.test.images[2, 2, 11].tolist() == [255, 0]
    pixels = data.train.images / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2))) and data.std == pytest.approx(pixels.std((0, 1, 2)))


def test_as_n_mnist_unpacks_with_what_lies_about(tmp_path: Path) -> None:
    """Capital names, recordings in folders within a class, hidden and other files, classes that are links."""
    write_events(tmp_path / "made", train=6, test=3)
    before = load_dataset("events", tmp_path / "made")
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "made" / "train", root / "Train")
    shutil.copytree(tmp_path / "made" / "test", root / "Test")
    (root / "Train" / "class 0" / "deeper").mkdir()
    (root / "Train" / "class 0" / "0003.npy").rename(root / "Train" / "class 0" / "deeper" / "0003.npy")
    for name in ("README.txt", ".hidden.npy", "Thumbs.db"):
        (root / "Train" / "class 1" / name).write_text("nothing")
    (root / "Train" / ".cache").mkdir()
    (root / "Train" / "LICENSE").write_text("nothing")
    (root / "Test" / "class 2").rename(tmp_path / "elsewhere")
    (root / "Test" / "class 2").symlink_to(tmp_path / "elsewhere")
    after = load_dataset("events", root)
    assert np.array_equal(after.train.images, before.train.images) and after.classes == before.classes
    assert np.array_equal(after.test.images, before.test.images)


def test_a_class_may_lack_in_the_test_half_alone(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    shutil.rmtree(tmp_path / "test" / "class 1")
    data = load_dataset("events", tmp_path)
    assert data.classes == 3 and data.test.labels.tolist() == [0, 2]
    shutil.rmtree(tmp_path / "train" / "class 2")
    sentence = refusal(tmp_path)
    assert sentence == f"{tmp_path}/test has classes that {tmp_path}/train has not: 'class 2'"


def test_one_event_far_outside_does_not_make_all_images_large(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    np.save(tmp_path / "train" / "class 0" / "far.npy", np.array([(4095, 4095, 0, 0)], EVENT))
    assert refusal(tmp_path) == (
        f"the recordings under {tmp_path} reach to row 4095 and column 4095, and most of them by far not as far: set "
        "data.size, which tells of those that are outside"
    )
    sentence = refusal(tmp_path, size=(8, 8))
    assert sentence.startswith(f"{tmp_path}/train/class 0/far.npy has an event in row 4095, column 4095, outside")


# Refusals


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset("events", root, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_absent_data_say_what_to_do(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"there is no {tmp_path}/train: put recordings (.bin, .aedat, .npy, .npz) into {tmp_path}/train/CLASS and "
        f"{tmp_path}/test/CLASS, a folder for each class"
    )


def test_folders_that_are_none(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    (tmp_path / "train" / "empty").mkdir()
    assert refusal(tmp_path) == f"{tmp_path}/train/empty holds no recordings (.bin, .aedat, .npy, .npz)"
    for folder in ("empty", "class 0", "class 1"):
        shutil.rmtree(tmp_path / "train" / folder)
    assert "a folder for each class, at least 2, not 1" in refusal(tmp_path)
    shutil.rmtree(tmp_path / "train")
    (tmp_path / "train").write_text("a file")
    assert refusal(tmp_path) == f"{tmp_path}/train cannot be read (no such file)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (8, 7)}, "an event in row 7, column 7, outside data.size [8, 7]"),
        ({"size": (7, 8)}, "an event in row 7, column 7, outside data.size [7, 8]"),
        ({"size": (8, 0)}, "data.size must be height and width, each from 1 to 4096, not (8, 0)"),
        ({"size": 8}, "data.size must be height and width, each from 1 to 4096, not 8"),
        ({"size": (8, 4097)}, "each from 1 to 4096, not (8, 4097)"),
        ({"time_window": 0}, "data.time_window, in microseconds, must be a whole number from 1, not 0"),
        ({"time_window": 0.5}, "must be a whole number from 1, not 0.5"),
    ],
)
def test_options(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    assert words in refusal(tmp_path, **options)


def test_options_of_events_have_no_effect_with_other_sets(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for option in ({"size": (28, 28)}, {"time_window": 5}):
        with pytest.raises(UserError) as caught:
            load_dataset("mnist", tmp_path, **option)  # type: ignore[arg-type]
        (name,) = option
        assert str(caught.value) == f"data.{name} has no effect with the data set mnist: leave it out"


def npy(array: Any, **how: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, array, **how)
    return written.getvalue()


def npz(**columns: Any) -> bytes:
    written = io.BytesIO()
    np.savez_compressed(written, **columns)
    return written.getvalue()


def header(descr: Any, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """A file of NumPy's that says what it likes."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


def zipped(content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An .npz with that as x.npy."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", kind) as packed:
        packed.writestr("x.npy", content)
        for name in "ytp":
            packed.writestr(f"{name}.npy", npy(np.zeros(3, np.int8)))
    return written.getvalue()


class RunsCode:
    def __reduce__(self) -> Any:
        return (print, ("this must never run",))


EVENTS = recording(0, 0)
DESCR = EVENT.descr
OF_FLOATS = [("x", "i2"), ("y", "i2"), ("t", "f8"), ("p", "?")]
OF_VECTORS = [("x", "i2", 3), ("y", "i2"), ("t", "i8"), ("p", "?")]
AEDAT = b"#!AER-DAT2.0\r\n"
FEW = npz_columns(np.zeros(3, EVENT))
BAD: list[tuple[str, str, bytes, str]] = [
    ("an empty file", "x.npy", b"", "is damaged, or no .npy file (EOF: reading magic string"),
    ("no NumPy file", "x.npy", b"<html>404</html>", "is damaged, or no .npy file (the magic string is not correct"),
    ("another version", "x.npy", b"\x93NUMPY\4\0" + bytes(50), "is damaged, or no .npy file"),
    ("a cut file", "x.npy", npy(EVENTS)[:-1], "it does not hold the 780 bytes that its header says"),
    ("a file too long", "x.npy", npy(EVENTS) + b"x", "it does not hold the 780 bytes that its header says"),
    ("terabytes", "x.npy", header(DESCR, (2**40,)), "cannot hold the 14293651161088 bytes that its header says"),
    ("less than none", "x.npy", header(DESCR, (-1,)), "cannot hold the -13 bytes that its header says"),
    ("types of nothing", "x.npy", header("V0", (5,)), "it cannot hold the 0 bytes"),
    ("a header of depth", "x.npy", b"\x93NUMPY\1\0\x2c\1" + b"(" * 300, "is damaged, or no .npy file"),
    ("objects", "x.npy", npy(np.array([RunsCode()])), "holds Python's objects, not numbers: it is not read"),
    ("a plain array", "x.npy", npy(np.zeros((5, 4))), "with the fields x, y, t, p, not 'float64' (5, 4)"),
    ("a field less", "x.npy", npy(EVENTS[["x", "y", "t"]]), "with the fields x, y, t, p, not"),
    ("rows of events", "x.npy", npy(EVENTS[None]), "must hold a structured array (N,)"),
    (
        "a moment as float",
        "x.npy",
        npy(EVENTS.astype(OF_FLOATS)),
        "hold t as",
    ),
    (
        "vectors",
        "x.npy",
        npy(np.zeros(5, OF_VECTORS)),
        "hold x as integers",
    ),
    ("no events", "x.npy", npy(EVENTS[:0]), "holds no events"),
    ("a far column", "x.npy", npy(np.array([(4096, 0, 0, 0)], EVENT)), "event at x 4096, where pixels are 0 to 4095"),
    ("a row below 0", "x.npy", npy(np.array([(0, -1, 0, 0)], EVENT)), "event at y -1, where pixels are 0 to 4095"),
    (
        "aeons",
        "x.npy",
        npy(np.array([(0, 0, 2**63 - 1, 0), (0, 0, -(2**63), 0)], EVENT)),
        "is damaged: its events are 18446744073709551615 microseconds apart",
    ),
    ("another polarity", "x.npz", npz(**{**FEW, "p": np.array([0, 1, 2])}), "an event of polarity 2, which must be 1"),
    ("no zip", "x.npz", b"<html>404</html>", "is damaged, or no .npz file (File is not a zip file)"),
    ("a cut zip", "x.npz", npz(**FEW)[:-30], "is damaged, or no .npz file"),
    ("a column less", "x.npz", npz(x=FEW["x"], t=FEW["t"]), "lacks y, p: an .npz holds x, y, t and p, each (N,)"),
    ("a short column", "x.npz", npz(**{**FEW, "t": np.zeros(2, int)}), "of different lengths: {'p': 3, 't': 2, "),
    ("objects in a zip", "x.npz", npz(**{**FEW, "t": np.array([RunsCode()] * 3)}), "holds Python's objects"),
    ("terabytes in a zip", "x.npz", zipped(header("i1", (2**40,))), "it cannot hold the 1099511627776 bytes"),
    ("another packing", "x.npz", zipped(npy(np.zeros(3, np.int8)), zipfile.ZIP_LZMA), "in a way that NumPy does not"),
    ("bytes between", "x.bin", bytes(12), "is damaged: its 12 bytes are not events of 5 bytes each"),
    ("hours", "x.bin", bytes([0, 240, 0, 0, 0]) * 140_000, "with 140000 overflows of time among 140000 events: cut it"),
    ("no AEDAT", "x.aedat", b"<html>404</html>", "is not AEDAT 2: of AEDAT, only recordings of a DVS128"),
    ("AEDAT 3", "x.aedat", b"#!AER-DAT3.1\r\n" + bytes(100), "is not AEDAT 2"),
]
OF_TONIC: list[tuple[str, str, bytes, str]] = [
    ("nothing but overflows", "x.bin", bytes([0, 240, 0, 0, 0]) * 9, "holds no events"),
    ("nothing in it", "x.bin", b"", "holds no events"),
    (
        "another camera",
        "x.aedat",
        AEDAT + bytes([0, 64, 0, 0, 0, 0, 0, 1]),
        "another camera than a DVS128",
    ),
    ("half an event", "x.aedat", AEDAT + bytes(12), "its 12 bytes are not events of 8 bytes each"),
    ("no version", "x.aedat", b"#!AER-DAT2,0\r\n" + bytes(16), "is damaged, or no AEDAT file (could not convert"),
    ("a header alone", "x.aedat", AEDAT, "is damaged"),
]


def ids(rows: list[tuple[str, str, bytes, str]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("name", "content", "words"), [row[1:] for row in BAD], ids=ids(BAD))
def test_damaged_recordings(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "test" / "class 2" / name
    file.write_bytes(content)
    tracemalloc.start()
    try:
        sentence = refusal(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert sentence.startswith(f"{file} ") and words in sentence
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not has_tonic(), reason="tonic is not installed")
@pytest.mark.parametrize(("name", "content", "words"), [row[1:] for row in OF_TONIC], ids=ids(OF_TONIC))
def test_damaged_recordings_that_tonic_reads(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "test" / "class 2" / name
    file.write_bytes(content)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{file} ") and words in sentence


@pytest.mark.parametrize("ending", [".npy", ".npz", ".bin", ".aedat"])
def test_what_is_no_file(ending: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "train" / "class 0" / f"x{ending}"
    file.symlink_to("nothing")
    assert refusal(tmp_path) == f"{file} cannot be read (no such file)"
    file.unlink()
    file.symlink_to("/dev/zero")
    assert refusal(tmp_path) == f"{file} cannot be read (it is a device, not a file)"


def test_a_file_that_is_too_large_to_be_a_recording(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "train" / "class 0" / "x.bin"
    with file.open("wb") as sparse:
        sparse.truncate((1 << 28) + 5)
    assert refusal(tmp_path).startswith(f"{file} has 268435461 bytes, more than the 268435456 that a recording may")


@pytest.mark.parametrize("ending", [".bin", ".aedat"])
def test_without_tonic(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "tonic"]:
        monkeypatch.delitem(sys.modules, module)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tonic" else real(name))
    monkeypatch.setitem(sys.modules, "tonic", None)
    write_events(tmp_path, ending=ending)
    assert refusal(tmp_path) == (
        "tonic, which reads recordings of event cameras, is not installed: pip install 'ttfs-cupy[events]'"
    )


# The command line


@pytest.mark.parametrize("ending", ENDINGS)
def test_trains_on_events(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class's events are in rows of its own: a small network learns that, and evaluate reads it again."""
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "data", train=120, test=30, ending=ending)
    settings = {
        "data__dataset": "events",
        "data__root": str(tmp_path / "data"),
        "data__size": [8, 8],
        "data__time_window": 100_000,
        "training__batch_size": 10,
        "training__epochs": 4,
    }
    outcome = train(*small(tmp_path / "run", **settings))
    assert (outcome.code, outcome.err) == (0, "")
    last = metrics(tmp_path / "run")[-1]
    assert last["test_images"] == 30 and last["test_accuracy"] > 0.6
    assert f"test accuracy  {100 * last['test_accuracy']:.2f} %" in evaluate(tmp_path / "run").out


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data__size": [4, 4]}, "outside data.size [4, 4]"),
        ({"data__size": 8}, "data.size must be height and width, two whole numbers from 1, such as [34, 34]"),
        ({"data__size": [8, 0]}, "height and width, two whole numbers from 1, such as [34, 34]"),
        ({"data__time_window": 0}, "data.time_window must be a whole number from 1"),
        ({"data__dataset": "digits", "data__size": [8, 8]}, "data.size has no effect with the data set digits"),
    ],
)
def test_the_command_refuses(
    settings: dict[str, Any], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "data")
    usual = {"data__dataset": "events", "data__root": str(tmp_path / "data"), "training__batch_size": 10}
    refused(train(*small(tmp_path / "run", **{**usual, **settings})), words)
    assert not (tmp_path / "run").exists()


def test_the_order_of_events_is_no_matter(tmp_path: Path) -> None:
    events = recording(1, 5)
    shuffled = events[random.Random(0).sample(range(len(events)), len(events))]
    images = []
    for number, one in enumerate((events, shuffled)):
        np.save(tmp_path / f"{number}.npy", one)
        images.append(first_spikes(read_recording(tmp_path / f"{number}.npy")))
    assert np.array_equal(*images)
