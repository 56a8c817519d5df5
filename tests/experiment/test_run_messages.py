"""What is said of a run's files that cannot be used: situation and whole sentence. {path} stands for the file."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.commands import evaluate, run_small, train
from helpers.privileges import open_folder, without_privileges
from helpers.refusals import refused
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.optimizer import StepCounts
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.progress import EpochLength, Progress
from ttfs_cupy.experiment.files.run_directory import RunDirectory


def written(dtype: str, size: int, metadata: str | None = None) -> bytes:
    """A safetensors file of one array of four numbers, which takes so many bytes."""
    header: dict[str, Any] = {"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, size]}}
    if metadata is not None:
        header["__metadata__"] = {"ttfs_cupy": metadata}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def content(raw: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(raw) and None


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def nan(path: Path) -> None:
    safetensors.numpy.save_file({"a": np.array([1, np.nan], np.float32)}, path)


def too_many_digits() -> str:
    """In this Python's words."""
    with pytest.raises(ValueError, match="digits") as caught:
        int("1" * 5000)
    return str(caught.value)


CANNOT = "weights '{path}' cannot be read: "

CHECKPOINTS: list[tuple[str, Callable[[Path], Any], str]] = [
    ("nothing", lambda path: None, CANNOT + "no such file"),
    ("a directory", Path.mkdir, CANNOT + "it is a directory, not a file"),
    ("a pipe", os.mkfifo, CANNOT + "it is a pipe, not a file"),
    ("a device", device, CANNOT + "it is a device, not a file"),
    ("links in a circle", loop, CANNOT + "its symbolic links lead in a circle"),
    (
        "empty",
        Path.touch,
        CANNOT + "it is not a whole safetensors file (Error while deserializing header: header too small)",
    ),
    (
        "cut",
        content(written("F32", 16)[:-1]),
        CANNOT + "it is not a whole safetensors file (Error while deserializing header: incomplete metadata, file not "
        "fully covered)",
    ),
    (
        "float8",
        content(written("F8_E4M3", 4)),
        CANNOT + "'a' is in F8_E4M3; save it as float32, float16 or bfloat16",
    ),
    ("FP4", content(written("F4", 2)), CANNOT + "'a' is in F4; save it as float32, float16 or bfloat16"),
    ("complex", content(written("C64", 32)), CANNOT + "'a' is in C64; save it as float32, float16 or bfloat16"),
    ("NaN", nan, "weights '{path}' cannot be used: 'a' holds NaN, which no training leaves"),
    (
        "metadata that are no JSON",
        content(written("F32", 16, "{")),
        CANNOT + "its metadata are not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char "
        "1))",
    ),
    (
        "metadata nested by the thousand",
        content(written("F32", 16, "[" * 100_000)),
        CANNOT + "its metadata are nested too deeply",
    ),
    (
        "a number of thousands of digits",
        content(written("F32", 16, "1" * 5000)),
        CANNOT + f"its metadata are not JSON ({too_many_digits()})",
    ),
    ("a list", content(written("F32", 16, "[1]")), CANNOT + "its metadata are [1], not keys and values"),
]


@pytest.mark.parametrize(("make", "sentence"), [row[1:] for row in CHECKPOINTS], ids=[row[0] for row in CHECKPOINTS])
def test_checkpoints(make: Callable[[Path], Any], sentence: str, tmp_path: Path) -> None:
    read_in_vain(checkpoint.load, make, sentence, tmp_path / "best.safetensors")


def read_in_vain(read: Callable[[Path], Any], make: Callable[[Path], Any], sentence: str, path: Path) -> None:
    """What is made at the path cannot be read, for that reason."""
    make(path)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == sentence.format(path=path)


def test_names_that_no_file_can_have() -> None:
    """Of half a character, a NUL was told."""
    with pytest.raises(UserError, match="its name holds a NUL character"):
        checkpoint.load(Path("a\0b"))
    with pytest.raises(UserError, match="its name is no text in utf-8, which paths are written in here"):
        checkpoint.load(Path("a\ud800b"))


def test_a_path_of_thousands_of_characters_on_several_lines() -> None:
    """A sentence is one line, of bounded length, whoever raises it."""
    for path in (Path("a\nb\x1b[31m"), Path("/".join(["y" * 200] * 30))):
        for call in (checkpoint.load, checkpoint.metadata, RunDirectory.existing):
            with pytest.raises(UserError) as caught:
                call(path / "missing/below")
            sentence = str(caught.value)
            assert sentence.isprintable() and len(sentence) <= 2000, call


def test_a_checkpoint_that_may_not_be_read() -> None:
    with open_folder() as folder:
        path = folder / "best.safetensors"
        path.write_bytes(written("F32", 16))
        path.chmod(0)
        with without_privileges(), pytest.raises(UserError) as caught:
            checkpoint.load(path)
    assert str(caught.value) == f"weights '{path}' cannot be read: Permission denied"


@given(upper=st.lists(st.integers(0, 2**16 - 1).filter(lambda bits: (bits & 0x7FFF) <= 0x7F80), min_size=1))
def test_bfloat16_is_read_exactly(upper: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bfloat16") / "weights.safetensors"
    stored = np.array(upper, "<u2")
    header = {"a": {"dtype": "BF16", "shape": [len(upper), 1], "data_offsets": [0, stored.nbytes]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + stored.tobytes())
    (array,) = checkpoint.load(path)[0].values()
    assert array.dtype == np.float32 and array.shape == (len(upper), 1)
    # the lower half of each number's bits is 0, the upper one what was stored
    assert np.array_equal(array.ravel().view(np.uint32), stored.astype(np.uint32) << 16)


def bfloat16(names: list[str]) -> bytes:
    """A safetensors file of arrays of four numbers, each twice as large as the one before."""
    header = {
        name: {"dtype": "BF16", "shape": [4], "data_offsets": [8 * place, 8 * place + 8]}
        for place, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    stored = np.arange(1, 4 * len(names) + 1).astype(np.float32).view(np.uint32) >> 16
    return struct.pack("<Q", len(text)) + text + stored.astype("<u2").tobytes()


def test_a_file_of_bfloat16_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read whole for each of its arrays."""
    path, read = tmp_path / "weights.safetensors", []
    names = [f"a{number}" for number in range(8)]
    path.write_bytes(bfloat16(names))
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(self) or read_bytes(self))
    arrays, _ = checkpoint.load(path)
    assert read == [path]
    for place, name in enumerate(names):
        np.testing.assert_array_equal(arrays[name], np.arange(4 * place + 1, 4 * place + 5, dtype=np.float32))


def sparse(path: Path, metadata: dict[str, Any]) -> None:
    """A whole safetensors file of 4 TiB of zeros, of which the disk holds the header alone."""
    size = 1 << 42
    header = {
        "a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]},
        "__metadata__": {"ttfs_cupy": json.dumps(metadata)},
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    try:
        os.truncate(path, 8 + len(text) + size)
    except OSError as error:
        pytest.skip(f"no such files here: {error}")


def test_a_number_is_read_without_the_arrays_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rising = "network.psp_slope={from: 0, to: 1, start: 0.2, end: 0.6}"
    run, config = RunDirectory(tmp_path), load_config("quickstart", [rising])
    # where memory is promised without end, it would take a while
    monkeypatch.setattr(checkpoint, "load", None)
    sparse(run.best, {"epoch": 20})
    assert checkpoint.metadata(run.best) == {"epoch": 20}
    assert best_weights.standing(config, run) == f"the best weights so far, of epoch 20, are in {run.best}"
    run.best.unlink()
    sparse(run.last, {"progress": {"epochs": 7, "best_epoch": 0}})
    assert best_weights.standing(config, run).endswith("psp_slope moves until epoch 18 of 30 (over: 7)")


@pytest.mark.parametrize(
    "progress", [None, [3], {}, {"epochs": "3"}, {"epochs": float("inf")}, {"epochs": -1}], ids=str
)
def test_a_run_that_does_not_say_its_epochs(progress: object, tmp_path: Path) -> None:
    """Of Infinity, an OverflowError was left."""
    run = RunDirectory(tmp_path)
    checkpoint.save(run.last, {}, {"progress": progress})
    with pytest.raises(UserError, match="is not the file that ttfs-train wrote: its epochs must be a whole number"):
        best_weights.standing(load_config("quickstart"), run)


# whose arrays alone are at fault are not among them
NO_CHECKPOINTS = [row for row in CHECKPOINTS if row[0] not in ("float8", "FP4", "complex", "NaN")]


@pytest.mark.parametrize(
    ("make", "sentence"), [row[1:] for row in NO_CHECKPOINTS], ids=[row[0] for row in NO_CHECKPOINTS]
)
def test_metadata_of_no_checkpoint(make: Callable[[Path], Any], sentence: str, tmp_path: Path) -> None:
    read_in_vain(checkpoint.metadata, make, sentence, tmp_path / "best.safetensors")


# metrics.jsonl

LINE = "{path}, line 2, cannot be read: "
METRICS: list[tuple[str, bytes, str]] = [
    ("cut", b'{"epoch": 2', LINE + "it is not JSON (Expecting ',' delimiter: line 1 column 12 (char 11))"),
    ("a number", b"7", LINE + "it is 7, not keys and values"),
    ("text", b'"epoch"', LINE + "it is 'epoch', not keys and values"),
    ("null", b"null", LINE + "it is null, not keys and values"),
    ("a list", b"[1]", LINE + "it is [1], not keys and values"),
    ("nested", b"[" * 100_000, LINE + "it is nested too deeply"),
    ("an epoch that is text", b'{"epoch": "2"}', LINE + "its epoch must be a whole number from 1, not '2'"),
    ("an epoch that is a list", b'{"epoch": [2]}', LINE + "its epoch must be a whole number from 1, not [2]"),
    ("an epoch below 1", b'{"epoch": -5}', LINE + "its epoch must be a whole number from 1, not -5"),
    ("no UTF-8", b"\xff", "{path} cannot be read: it is not UTF-8 text"),
]


@pytest.mark.parametrize(("line", "sentence"), [row[1:] for row in METRICS], ids=[row[0] for row in METRICS])
def test_metrics(line: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + line + b"\n")
    with pytest.raises(UserError) as caught:
        MetricsFile.of_epochs(path, 2)
    assert str(caught.value) == sentence.format(path=path)


def test_metrics_are_those_of_the_epochs_that_count(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n\n{"epoch": 2}\n{"epoch": 3}\n{"test_accuracy": 1}\n')
    assert MetricsFile.of_epochs(path, 2).lines == [{"epoch": 1}, {"epoch": 2}]
    assert MetricsFile.of_epochs(tmp_path / "none", 2).lines == []


# Progress

GOOD = asdict(Progress(3, 33, 2, 0.5, 1, 2, 4))


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        (None, "its progress is null, not keys and values"),
        ([1], "its progress is [1], not keys and values"),
        ({**GOOD, "epoch": 1}, "its progress has a key 'epoch', which means nothing here"),
        ({**GOOD, "epochs": "3"}, "its epochs must be a whole number from 0, not '3'"),
        ({**GOOD, "epochs": 3.0}, "its epochs must be a whole number from 0, not 3.0"),
        ({**GOOD, "step": True}, "its step must be a whole number from 0, not true"),
        ({**GOOD, "step": -33}, "its step must be a whole number from 0, not -33"),
        ({**GOOD, "step": 10**200}, "its step must be at most 9007199254740992, not a number of more than 100 digits"),
        ({**GOOD, "step": 34}, "it is at step 34 after 3 epochs, which have 11 steps each here"),
        ({**GOOD, "best_accuracy": float("nan")}, "its best_accuracy must be a number from -1 to 1, not nan"),
        ({**GOOD, "best_accuracy": {}}, "its best_accuracy must be a number from -1 to 1, not {}"),
        ({**GOOD, "best_epoch": 4}, "its best_epoch is 4, and can be 3 at most"),
        ({**GOOD, "skipped": 34}, "its skipped is 34, and can be 33 at most"),
    ],
)
def test_progress(metadata: object, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Progress.from_metadata(metadata, EpochLength(11))
    assert str(caught.value) == sentence


def test_progress_that_can_be_true() -> None:
    progress = Progress.from_metadata(GOOD, EpochLength(11))
    assert asdict(progress) == GOOD
    progress.check_counts(StepCounts(31, 2, 4))
    for counts in (StepCounts(33, 2, 4), StepCounts(-1, 34, 0), StepCounts(10**15, 0, 0)):
        with pytest.raises(ValueError, match="its optimiser counts"):
            progress.check_counts(counts)


# Of a whole run


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("good") / "run", training__epochs=1)


def changed(run: Path, name: str, arrays: dict[str, Any] | None = None, **metadata: Any) -> Path:
    path = run / f"{name}.safetensors"
    there, said = checkpoint.load(path)
    checkpoint.save(path, {**there, **(arrays or {})}, {**said, **metadata})
    return path


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"epoch": "1"}, "its epoch must be a whole number from 0, not '1'"),
        ({"epoch": -1}, "its epoch must be a whole number from 0, not -1"),
        ({"psp_slope": None}, "its psp_slope must be a number from 0 to 1, not null"),
        ({"psp_slope": "1"}, "its psp_slope must be a number from 0 to 1, not '1'"),
    ],
    ids=str,
)
def test_evaluating_weights_of_no_epoch(metadata: dict[str, Any], words: str, good_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(good_run, tmp_path / "run")
    path = changed(run, "best", **metadata)
    assert refused(evaluate(run)) == f"error: '{path}' is not the file that ttfs-train wrote: {words}\n"


def test_evaluating_weights_that_are_no_floats(good_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(good_run, tmp_path / "run")
    path = changed(run, "best", {"conv1.weight": np.ones((8, 1, 3, 3), np.int8)})
    assert refused(evaluate(run)) == (
        f"error: the weights 'conv1.weight' in '{path}' are int8: they must be float32, or floats\n"
    )


def test_evaluating_bfloat16(good_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(good_run, tmp_path / "run")
    arrays, metadata = checkpoint.load(run / "best.safetensors")
    halves = {name: (array.view(np.uint32) >> 16).astype("<u2") for name, array in arrays.items()}
    plain = safetensors.numpy.save(halves, {"ttfs_cupy": json.dumps(metadata)})
    # NumPy has no bfloat16, so the header is written anew: its length in 8 bytes, and JSON
    length = int.from_bytes(plain[:8], "little")
    header = plain[8 : 8 + length].replace(b'"U16"', b'"BF16"')
    (run / "best.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + plain[8 + length :])
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "")


@pytest.mark.parametrize(
    ("arrays", "metadata", "words"),
    [
        ({}, {"progress": {**GOOD, "step": "1"}}, "its step must be a whole number from 0, not '1'"),
        (
            {},
            {"progress": {**GOOD, "step": 10**18}},
            "its step must be at most 9007199254740992, not 1000000000000000000",
        ),
        ({}, {"progress": [[]]}, "its progress is [[]], not keys and values"),
        ({"optimizer.counts": np.array([-5, 0, 0])}, {}, "the optimiser's 'counts' must not be negative"),
        ({"optimizer.counts": np.array([2**60, 0, 0])}, {}, "its optimiser counts 1152921504606846976 steps"),
    ],
)
def test_resuming_what_cannot_be(
    arrays: dict[str, Any], metadata: dict[str, Any], words: str, good_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(good_run, tmp_path / "run")
    path = changed(run, "last", arrays, **metadata)
    refused(train("--resume", run), f"'{path}' does not belong to this run's config: {words}")
