"""Recordings of event cameras: what becomes of their events, the formats, folders, and what is refused."""

import random
import shutil
import struct
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import evaluate, metrics, small, train
from helpers.datasets_on_disk import EVENT, recording, write_events, write_mnist, write_recording
from helpers.event_recordings import needs_tonic
from helpers.refusals import refused, refused_dataset
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.data import load_dataset
from ttfs_cupy.data.decoding.recordings import Events, read_recording
from ttfs_cupy.data.sources.events import first_spikes

refusal = partial(refused_dataset, name="events")

ENDINGS = [".npy", ".npz", *(pytest.param(ending, marks=needs_tonic) for ending in (".bin", ".aedat"))]


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
    assert data.class_names == ("class 0", "class 1", "class 2")
    # by their names, whatever their class
    assert data.train.labels.tolist() == [0, 1, 2, 0, 1, 2] and data.test.labels.tolist() == [0, 1, 2]
    for half, first in ((data.train, 0), (data.test, 1000)):
        for number, (image, label) in enumerate(zip(half.images, half.labels, strict=True)):
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


@needs_tonic
def test_overflows_of_time_in_n_mnists_format(tmp_path: Path) -> None:
    rows = [(1, 2, 0, 5), (0, 240, 0, 0), (3, 4, 128, 9), (0, 240, 0, 0), (5, 6, 128, 1)]
    (tmp_path / "one.BIN").write_bytes(b"".join(bytes([x, y, p, 0, t]) for x, y, p, t in rows))
    read = read_recording(tmp_path / "one.BIN")
    assert read.t.tolist() == [0, 8192 + 4, 2 * 8192 - 4]
    assert read.y.tolist() == [2, 4, 6] and read.p.tolist() == [0, 1, 1]


@needs_tonic
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
    assert data.train.images[:, :, 8:].max() == 0 and data.test.images[3, 2, 11].tolist() == [255, 0]
    pixels = data.train.images / 255
    assert data.mean == pytest.approx(pixels.mean((0, 1, 2))) and data.std == pytest.approx(pixels.std((0, 1, 2)))


def test_as_n_mnist_unpacks_with_what_lies_about(tmp_path: Path) -> None:
    """Capital names, recordings in folders within a class, hidden and other files and folders, links to folders."""
    write_events(tmp_path / "made", train=6, test=3)
    before = load_dataset("events", tmp_path / "made")
    root = tmp_path / "root"
    shutil.copytree(tmp_path / "made" / "train", root / "Train")
    shutil.copytree(tmp_path / "made" / "test", root / "Test")
    (root / "Train" / "class 2" / "deeper").mkdir()
    (root / "Train" / "class 2" / "0005.npy").rename(root / "Train" / "class 2" / "deeper" / "0005.npy")
    for name in ("README.txt", ".hidden.npy", "Thumbs.db"):
        (root / "Train" / "class 1" / name).write_text("nothing")
    for folder in (".cache", "class 2/.cache"):
        (root / "Train" / folder).mkdir()
        (root / "Train" / folder / "copy.npy").write_text("nothing")
    (root / "Train" / "LICENSE").write_text("nothing")
    for name in ("class 1", "class 2"):
        (root / "Test" / name).rename(tmp_path / name)
    (root / "Test" / "class 1").symlink_to(tmp_path / "class 1")
    (root / "Test" / "class 2").mkdir()
    (root / "Test" / "class 2" / "link").symlink_to(tmp_path / "class 2")
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
    assert sentence == f"{tmp_path}/test holds 'class 2', no class of the training half"


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


def test_absent_data_say_what_to_do(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"there is no {tmp_path}/train: put recordings (.bin, .aedat, .npy, .npz) into {tmp_path}/train/CLASS and "
        f"{tmp_path}/test/CLASS, a folder for each class"
    )


def test_folders_that_are_none(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    (tmp_path / "train" / "empty").mkdir()
    assert refusal(tmp_path) == (
        f"the class folder {tmp_path}/train/empty holds no recording, no file that ends in .bin, .aedat, .npy, .npz"
    )
    for folder in ("empty", "class 0", "class 1"):
        shutil.rmtree(tmp_path / "train" / folder)
    assert refusal(tmp_path) == (
        f"{tmp_path}/train holds the class folder 'class 2' alone, where recordings are to lie in one folder a class, "
        "two at least"
    )
    shutil.rmtree(tmp_path / "train")
    (tmp_path / "train").write_text("a file")
    assert refusal(tmp_path) == f"the folder {tmp_path}/train cannot be read: it is a file, not a folder"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": (8, 7)}, "an event in row 7, column 7, outside data.size [8, 7]"),
        ({"size": (7, 8)}, "an event in row 7, column 7, outside data.size [7, 8]"),
        ({"size": (8, 0)}, "each side of size must be a whole number from 1 to 4096, not 0"),
        ({"size": 8}, "size must be [height, width], such as [32, 32], not 8"),
        ({"size": (8, 4097)}, "each side of size must be at most 4096, not 4097"),
        ({"time_window": 0}, "time_window, in microseconds, must be a whole number from 1, not 0"),
        ({"time_window": 0.5}, "must be a whole number from 1, not 0.5"),
    ],
)
def test_options(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    assert words in refusal(tmp_path, **options)


def test_options_of_events_have_no_effect_with_other_sets(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    for option, takers in (({"size": (28, 28)}, "events or folder"), ({"time_window": 5}, "events")):
        (name,) = option
        sentence = refused_dataset(tmp_path, name="mnist", **option)  # type: ignore[arg-type]
        assert sentence == f"{name} has no effect with dataset mnist: leave it out, or choose {takers}"


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
        ({"data__size": 8}, "data.size must be [height, width], two whole numbers from 1 to 4096, such as [32, 32]"),
        ({"data__size": [8, 0]}, "[height, width], two whole numbers from 1 to 4096, such as [32, 32]"),
        ({"data__time_window": 0}, "data.time_window must be a whole number from 1"),
        (
            {"data__dataset": "digits", "data__size": [8, 8]},
            "data.size has no effect with dataset digits: leave it out, or choose events or folder",
        ),
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
