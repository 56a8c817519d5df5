"""A run's files say what its network's input is: the network is had without the data set."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import STEPS, cut_short, resumes_to, run_small, small
from helpers.damage import nasty
from helpers.earlier_runs import forget_input
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference.comparison import DEVICE

from ttfs_cupy import UserError, build, load_dataset
from ttfs_cupy.data import ImageSet
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.input_record import read_input, recorded
from ttfs_cupy.trained.opening import open_network, open_run

FILES = ("best.safetensors", "last.safetensors", "previous.safetensors", "checkpoints/epoch-0001.safetensors")
SETTINGS: dict[str, Any] = {"training__keep": "{every: 1}", "network__encoding": "direct"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("recorded") / "run", **SETTINGS)


def without_record(run: Path, copy: Path) -> Path:
    """The run as an earlier version would have left it."""
    shutil.copytree(run, copy)
    for file in filter(Path.exists, (copy / name for name in FILES)):
        forget_input(file)
    return copy


def test_every_file_of_weights_says_what_the_input_is(run: Path) -> None:
    digits = load_dataset("digits", Path())
    for file in FILES:
        metadata = checkpoint.metadata(run / file)
        written = metadata["input"]
        assert written["shape"] == [1, 8, 8] and written["classes"] == 10 and written["maximum"] == 16
        found = read_input(run / file, metadata)
        assert found is not None
        assert (found.shape, found.classes, found.maximum) == (digits.input_shape, 10, 16)
        # bit for bit
        assert found.mean is not None and found.mean.tobytes() == digits.mean.tobytes()
        assert found.std is not None and found.std.tobytes() == digits.std.tobytes()


@pytest.mark.parametrize("epoch", [None, 1])
def test_a_network_is_had_without_its_data(epoch: int | None, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = open_run(run, epoch=epoch)
    pixels = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    expected = whole.network.forward(whole.network.encode(pixels))
    monkeypatch.setattr("ttfs_cupy.trained.opening.read_dataset", no_data)
    opened = open_network(run, epoch=epoch)
    assert np.array_equal(opened.network.forward(opened.network.encode(pixels)), expected)
    assert (opened.path, opened.weights, opened.class_names) == (whole.path, whole.weights, whole.class_names)


def no_data(*_: Any) -> None:
    raise AssertionError("the data set is read")


def test_a_run_of_an_earlier_version_reads_its_data_set(run: Path, tmp_path: Path) -> None:
    old = without_record(run, tmp_path / "old")
    new, found = open_network(run), open_network(old)
    pixels = np.random.default_rng(0).random((5, 1, 8, 8), np.float32)
    assert np.array_equal(
        found.network.forward(found.network.encode(pixels)), new.network.forward(new.network.encode(pixels))
    )
    assert found.images.maximum == 16 and found.class_names == tuple("0123456789")
    shutil.rmtree(old / "checkpoints")
    with pytest.raises(UserError, match=r"keeps no checkpoint of epoch 1: training\.keep asked for none"):
        open_network(old, epoch=1)


def test_a_run_of_an_earlier_version_goes_on_and_is_the_same(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_short(monkeypatch, STEPS + 4, *small(tmp_path / "broken", **SETTINGS))
    resumes_to(run, without_record(tmp_path / "broken", tmp_path / "old"))


@given(
    mean=arrays(np.float32, 3, elements=st.floats(-1000, 1000, width=32)),
    std=arrays(np.float32, 3, elements=st.floats(2**-10, 1000, width=32)),
    maximum=st.integers(1, 255),
)
def test_statistics_come_back_bit_for_bit(mean: np.ndarray, std: np.ndarray, maximum: int) -> None:
    net = build([4], input_shape=(3, 2, 2), classes=2, device=DEVICE, mean=mean, std=std)
    images = ImageSet(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int32), maximum)
    found = read_input(Path("file"), recorded(net, images))
    assert found is not None and found.mean is not None and found.std is not None
    assert (found.mean.tobytes(), found.std.tobytes(), found.maximum) == (mean.tobytes(), std.tobytes(), maximum)


def test_a_network_without_statistics_has_none_recorded() -> None:
    net = build([4], input_shape=(3, 2, 2), classes=2, device=DEVICE)
    images = ImageSet(np.zeros((1, 2, 2, 3), np.uint8), np.zeros(1, np.int32))
    found = read_input(Path("file"), recorded(net, images))
    assert found is not None and found.mean is None and found.std is None


GOOD = {"shape": [1, 8, 8], "classes": 10, "maximum": 16, "mean": [0.5], "std": [0.25]}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ([], "must hold shape, classes, maximum, mean, std, not []"),
        ({**GOOD, "more": 1}, "must hold shape, classes, maximum, mean, std, not {"),
        ({**GOOD, "shape": [8, 8]}, "shape must be [channels, height, width], not [8, 8]"),
        ({**GOOD, "shape": [1, 8, 0]}, "shape must be a whole number from 1 to 1000000, not 0"),
        ({**GOOD, "classes": 1}, "classes must be a whole number from 2 to 1000000, not 1"),
        ({**GOOD, "maximum": 256}, "maximum must be at most 255, not 256"),
        ({**GOOD, "mean": [0.5, 0.5]}, "mean must hold a number for each of 1 channels, not [0.5, 0.5]"),
        ({**GOOD, "std": ["wide"]}, "std must be a number from -3.4e38 to 3.4e38, not 'wide'"),
    ],
)
def test_a_record_that_this_package_did_not_write_is_refused(written: Any, told: str) -> None:
    with pytest.raises(UserError) as raised:
        read_input(Path("best.safetensors"), {"input": written})
    assert str(raised.value).startswith("'best.safetensors' is not the file that ttfs-train wrote: its input " + told)


@given(st.sampled_from(sorted(GOOD)), st.randoms(use_true_random=False))
def test_no_record_brings_a_traceback(key: str, random: Any) -> None:
    try:
        read_input(Path("best.safetensors"), {"input": {**GOOD, key: nasty(random)}})
    except UserError as error:
        assert "\n" not in str(error)
