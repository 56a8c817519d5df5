"""What a user may get wrong, or a machine may lack: one sentence, exit code 2, nothing half-written."""

import contextlib
import errno
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from commands import Outcome, evaluate, metrics, run_small, small, timeless, train, weights
from datasets_on_disk import dump, write_cifar10, write_idx, write_mnist

from ttfs_cupy import train as train_command
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import write_atomically
from ttfs_cupy.device import cuda_trouble
from ttfs_cupy.experiment import checkpoint
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.prepare import Experiment
from ttfs_cupy.experiment.schedule import LearningRateSchedule

NOBODY = 65534


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that whatever is written by default is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("good") / "run", training__epochs=1)


def refused(outcome: Outcome, *words: str) -> str:
    """The sentence of a command that must have been refused; it says each of the words."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"
    return outcome.err


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: by path, a file's content, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


# The config's file


def config_file(path: Path, content: str | bytes | None) -> Path:
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content)
    return path


GOOD = "data: {dataset: digits}\ntraining: {epochs: 1, batch_size: 64}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["my.yaml", "does not exist"]),
        ("", ["my.yaml", "is empty"]),
        ("# nothing but a comment\n", ["my.yaml", "is empty"]),
        ("data: {dataset: digits\n", ["my.yaml", "line", "not YAML"]),
        ("a: b: c", ["my.yaml", "line 1", "not YAML"]),
        (b"\xff\xfe\x00", ["my.yaml", "not UTF-8"]),
        ("- a\n- list\n", ["my.yaml", "list"]),
        (GOOD + "seed: many\n", ["my.yaml", "seed", "a whole number from 0", "'many'"]),
        (GOOD + "network: 3\n", ["network", "a section"]),
        (GOOD + "netwrk: {t_win: 1}\n", ["netwrk", "did you mean network?"]),
        (GOOD + "optimizer: {learning_rate: 1}\n", ["learning_rate", "not a key"]),
        (GOOD + "optimizer: {lr: -0.1}\n", ["optimizer.lr", "-0.1"]),
        (GOOD + "optimizer: {lr: .nan}\n", ["optimizer.lr", "nan"]),
        (GOOD + "optimizer: {lr: .inf}\n", ["optimizer.lr", "inf"]),
        (GOOD + "network: {t_win: 0}\n", ["network.t_win", "above 0"]),
        (GOOD + "network: {t_win: -1}\n", ["network.t_win", "above 0"]),
        (GOOD + "network: {psp_slope: 2}\n", ["network.psp_slope", "from 0 to 1"]),
        ("data: {dataset: digits}\ntraining: {epochs: 0, batch_size: 1}\n", ["training.epochs"]),
        ("data: {dataset: digits}\ntraining: {epochs: 1, batch_size: -8}\n", ["training.batch_size", "-8"]),
        ("training: {epochs: 1, batch_size: 8}\n", ["data", "is missing"]),
    ],
)
def test_config_files(content: str | bytes | None, words: list[str], here: Path) -> None:
    path = config_file(here / "my.yaml", content)
    before = tree(here)
    refused(train(path, "--output", here / "out"), *words)
    assert tree(here) == before


def test_config_is_a_directory(here: Path) -> None:
    refused(train(here), str(here), "is a directory")
    assert tree(here) == {}


def test_config_cannot_be_read(here: Path) -> None:
    # a file that exists and that nobody can read, root neither: its first page is never mapped
    refused(train("/proc/self/mem", "--output", here / "out"), "/proc/self/mem", "cannot be read")
    assert tree(here) == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["config", "--resume", "--help"]),
        (["quickstart", "--seed", "many"], ["--seed", "'many'", "--help"]),
        (["quickstart", "--seed", "-1"], ["seed", "-1"]),
        (["quickstart", "--outptu", "x"], ["--outptu", "--help"]),
        (["quickstart", "--set", "seed"], ["--set seed", "key.sub=value"]),
        (["quickstart", "--set", "seed.x=1"], ["--set seed.x=1", "seed"]),
        (["quickstart", "--set", "optimizer.lr=[1"], ["--set optimizer.lr=[1", "not YAML"]),
        (["quickstart", "--set", "optimiser.lr=1"], ["optimiser", "did you mean optimizer?"]),
        (["quikstart"], ["quikstart", "did you mean quickstart?"]),
        (["quickstart", "--resume", "x"], ["--resume", "not allowed"]),
        (["--resume", "x", "--seed", "3"], ["--resume", "--seed"]),
    ],
)
def test_command_lines(arguments: list[str], words: list[str], here: Path) -> None:
    refused(train(*arguments), *words)
    assert tree(here) == {}


def test_the_process_itself_says_one_sentence_and_exits_with_two(here: Path) -> None:
    command = [sys.executable, "-m", "ttfs_cupy.train", "quickstart", "--set", "network.t_win=0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    refused(Outcome(done.returncode, done.stdout, done.stderr), "network.t_win", "above 0")
    assert done.stdout == ""
    assert tree(here) == {}


# Keys that do not fit one another, or the data


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__batch_size": 1294}, ["training.batch_size 1294", "1293 images", "digits"]),
        ({"network__model": "[8, P, P, P, 16, P]"}, ["pool4", "2 x 2", "1 x 1", "8 x 8"]),
        ({"network__model": "[{convolution: 8, kernel: 11, padding: 1}]"}, ["conv1", "11 x 11", "8 x 8"]),
        ({"network__model": "vgg12"}, ["vgg12", "did you mean 'vgg11'"]),
        ({"network__model": "vgg11x.yaml"}, ["vgg11x.yaml", "No such file"]),
        ({"network__model": "[8, Q]"}, ["layer 2", "'Q'"]),
        ({"network__clip": "separate", "network__psp_slope": 0.5}, ["network.clip", "separate"]),
        ({"data__augment": "cifra"}, ["augmentation", "cifra"]),
        ({"data__augment": "cifar"}, ["augmentations", "0..16"]),
        ({"data__validation": 0.0001}, ["validation share"]),
        ({"data__dataset": "digit"}, ["'digit'", "digits"]),
        ({"device": "tpu"}, ["tpu", "auto, cuda, cuda:N or cpu"]),
        ({"device": "cuda:99"}, ["cuda:99", "cannot be used"]),
    ],
    ids=str,
)
def test_what_does_not_fit(changes: dict[str, Any], words: list[str], here: Path) -> None:
    arguments = small(here / "out", **changes)
    if "device" in changes:
        arguments[arguments.index("--device") + 1] = changes["device"]
    refused(train(*arguments), *words)
    assert tree(here) == {}


def test_no_gpu(here: Path) -> None:
    if cuda_trouble() is None:
        pytest.skip("this machine has a GPU")
    refused(train("quickstart", "--device", "cuda"), "device 'cuda' cannot be used", "'cpu' works everywhere")
    assert tree(here) == {}


@pytest.mark.parametrize(
    ("weights_file", "words"),
    [
        (None, ["no such file"]),
        (b"", ["not a whole safetensors file"]),
        (b"not safetensors, but long enough for a header", ["not a whole safetensors file"]),
        ({"conv1.weight": (9, 1, 3, 3)}, ["conv1.weight", "(9, 1, 3, 3)", "(8, 1, 3, 3)"]),
        ({"conv3.weight": (8, 1, 3, 3)}, ["conv3.weight", "not in this network"]),
        ({"readout.weight": None}, ["readout.weight", "are missing"]),
    ],
    ids=str,
)
def test_initial_weights(weights_file: Any, words: list[str], good_run: Path, here: Path) -> None:
    path = here / "initial.safetensors"
    if isinstance(weights_file, bytes):
        path.write_bytes(weights_file)
    elif weights_file is not None:
        arrays = weights(good_run)
        for name, shape in weights_file.items():
            arrays.pop(name, None)
            if shape:
                arrays[name] = np.zeros(shape, np.float32)
        safetensors.numpy.save_file(arrays, path)
    before = tree(here)
    refused(train(*small(here / "out", network__initial_weights=str(path))), str(path), *words)
    assert tree(here) == before


def test_initial_weights_may_not_be_a_folder(here: Path) -> None:
    refused(train(*small(here / "out", network__initial_weights=str(here))), str(here))
    assert tree(here) == {}


# Data


def absent(root: Path) -> str:
    return "mnist"


def truncated_mnist(root: Path) -> str:
    folder = write_mnist(root, zipped=False)
    file = folder / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-1000])
    return "mnist"


def truncated_gzip(root: Path) -> str:
    file = write_mnist(root) / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-50])
    return "mnist"


def mnist_of_another_shape(root: Path) -> str:
    folder = write_mnist(root)
    write_idx(folder, "train", np.zeros((60, 27, 28), np.uint8), np.zeros(60, np.int64))
    return "mnist"


def truncated_cifar(root: Path) -> str:
    file = write_cifar10(root) / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-200])
    return "cifar10"


def truncated_cifar_archive(root: Path) -> str:
    archive = write_cifar10(root, archive=True)
    archive.write_bytes(archive.read_bytes()[:2000])
    return "cifar10"


def cifar_of_another_shape(root: Path) -> str:
    folder = write_cifar10(root)
    dump(folder / "test_batch", {"data": np.zeros((5, 3 * 31 * 32), np.uint8), "labels": [0] * 5})
    return "cifar10"


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (absent, ["the data set mnist is not in", "data.download"]),
        (truncated_mnist, ["train-images-idx3-ubyte", "damaged"]),
        (truncated_gzip, ["t10k-images-idx3-ubyte.gz", "cannot be unzipped"]),
        (mnist_of_another_shape, ["MNIST", "(27, 28, 1)", "(28, 28, 1)"]),
        (truncated_cifar, ["data_batch_3", "damaged"]),
        (truncated_cifar_archive, ["cifar-10-python.tar.gz", "cannot be unpacked"]),
        (cifar_of_another_shape, ["test_batch", "32x32"]),
    ],
)
def test_datasets(break_it: Callable[[Path], str], words: list[str], here: Path) -> None:
    (here / "data").mkdir()
    name = break_it(here / "data")
    before = tree(here)
    settings = {"data__dataset": name, "data__root": str(here / "data"), "training__batch_size": 8}
    refused(train(*small(here / "out", **settings)), *words)
    assert tree(here) == before


# The output directory


def test_an_output_with_a_run_in_it_is_left_alone(good_run: Path) -> None:
    before = tree(good_run)
    refused(train(*small(good_run)), str(good_run), "already holds a run", "--output", "--resume")
    assert tree(good_run) == before


def test_an_output_with_weights_and_no_config_is_left_alone_too(here: Path) -> None:
    (here / "best.safetensors").write_bytes(b"somebody's")
    refused(train(*small(here)), "already holds a run")
    assert tree(here) == {"best.safetensors": b"somebody's"}


@pytest.mark.parametrize("below", [".", "deeper/still"])
def test_a_file_where_the_output_should_be(below: str, here: Path) -> None:
    (here / "file").write_text("in the way")
    refused(train(*small(here / "file" / below)), "file", "cannot be made")
    assert tree(here) == {"file": b"in the way"}


def test_an_output_with_too_long_a_name(here: Path) -> None:
    refused(train(*small(here / ("x" * 300))), "x" * 300, "name too long")
    assert tree(here) == {}


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anywhere: be nobody for a while, if need be."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_an_output_that_may_not_be_written(mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # pytest's own folders are closed to nobody, and a run reads its data before it writes
    folder = Path(tempfile.mkdtemp())
    real = train_command.prepare
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.callback(folder.chmod, 0o755)

        def prepare(wanted: Config) -> Experiment:
            experiment = real(wanted)
            stack.enter_context(without_privileges())
            return experiment

        monkeypatch.setattr(train_command, "prepare", prepare)
        folder.chmod(mode)
        outcome = train(*small(folder / "out"))
    refused(outcome, str(folder), "Permission denied")


# A full disk


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writes fail beyond so many bytes of a file: what a full disk does, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("size", "file"),
    [(0, "config.yaml"), (200, "config.yaml"), (3300, "log.txt"), (20_000, "last.safetensors")],
)
def test_no_room_for_the_first_files_of_a_run(size: int, file: str, good_run: Path, here: Path) -> None:
    # the kernels are built, and their cache written, by the good run; so many layers make the log's table long
    with largest_file(size):
        outcome = train(*small(here / "out", network__model=[8] * 60))
    refused(outcome, str(here / "out" / file), "cannot be written", "File too large")
    assert tree(here) == {}
    # nothing is in the way of a second try
    assert train(*small(here / "out", training__epochs=1)).code == 0


def test_a_disk_that_fills_up_in_the_middle_of_a_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"training__epochs": 3}
    whole = run_small(here / "whole", **settings)
    real, writes = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes > 6:  # config, last; metrics, best and last of the first epoch; metrics of the second
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    run = here / "run"
    refused(train(*small(run, **settings)), str(run), "cannot be written", "No space left on device")
    monkeypatch.undo()
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}  # no temporary file
    assert len(metrics(run)) == 2
    checkpoint.load(run / "best.safetensors")
    checkpoint.load(run / "last.safetensors")
    assert train("--resume", run).code == 0
    assert timeless(run) == timeless(whole)


@pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
def test_writing_is_all_or_nothing(fails: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = here / "file"
    write_atomically(path, b"the old content")
    if fails == "write":
        with largest_file(1000), pytest.raises(UserError, match="file cannot be written: File too large"):
            write_atomically(path, b"x" * 100_000)
    else:
        owner, name = (os, "fsync") if fails == "fsync" else (Path, "replace")

        def fail(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(owner, name, fail)
        with pytest.raises(UserError, match="file cannot be written: No space left on device"):
            write_atomically(path, b"x" * 100_000)
    assert tree(here) == {"file": b"the old content"}


# Numbers that stop being finite


# a learning rate that does not depend on the number of epochs, and no bound on the gradient
STEADY = {"optimizer__clip_norm": "null", "schedule__name": "exponential"}


@pytest.mark.parametrize("rate", ["1e38", "1e39"])  # weights that overflow in products, and at once
def test_a_loss_that_is_no_longer_finite(rate: str, here: Path) -> None:
    run = here / "run"
    outcome = train(*small(run, **STEADY, optimizer__lr=rate))
    sentence = refused(outcome, "loss is no longer finite", "epoch 1", "last.safetensors", "optimizer.lr")
    assert any(f"layer {name} " in sentence for name in ("conv1", "conv2", "readout"))
    born = weights(run_small(here / "born", optimizer__lr="1e-30", training__epochs=1))
    kept = weights(run, "last")
    for name, array in born.items():
        np.testing.assert_array_equal(kept[f"network.{name}"], array)


def test_the_weights_of_the_last_good_epoch_are_kept(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss overflows in the second epoch: the first one's weights stay on disk."""
    first = run_small(here / "first", **STEADY, training__epochs=1)
    at = LearningRateSchedule.at
    # a config cannot raise the rate in the middle of a run
    monkeypatch.setattr(LearningRateSchedule, "at", lambda self, step: at(self, step) if step < 11 else 1e38)
    run = here / "run"
    refused(train(*small(run, **STEADY)), "no longer finite in epoch 2")
    assert len(metrics(run)) == 1
    for name, array in weights(first, "last").items():
        np.testing.assert_array_equal(weights(run, "last")[name], array)


# Runs that are none


@pytest.mark.parametrize("command", [lambda path: train("--resume", path), evaluate])
def test_no_run_there(command: Callable[[Path], Outcome], here: Path) -> None:
    refused(command(here), str(here), "holds no run")
    refused(command(here / "absent"), "absent", "holds no run")
    refused(command(here / ("x" * 300)), "name too long")
    assert tree(here) == {}


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "another program's", "another network's"])
def test_damaged_weights(file: str, damage: str, good_run: Path, here: Path) -> None:
    run = here / "run"
    shutil.copytree(good_run, run)
    path = run / file
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "another program's":
        safetensors.numpy.save_file(weights(good_run, path.stem), path)
    else:
        arrays, metadata = checkpoint.load(path)
        name = next(name for name in arrays if name.endswith("conv1.weight"))
        checkpoint.save(path, {**arrays, name: np.zeros((9, 1, 3, 3), np.float32)}, metadata)
    before = tree(run)
    outcome = evaluate(run) if file.startswith("best") else train("--resume", run)
    refused(outcome, str(path))
    after = tree(run)
    # the attempt may have been logged
    assert {name: content for name, content in after.items() if name != "log.txt"} == {
        name: content for name, content in before.items() if name != "log.txt"
    }


def test_a_damaged_metrics_file(good_run: Path, here: Path) -> None:
    run = here / "run"
    shutil.copytree(good_run, run)
    (run / "metrics.jsonl").write_text('{"epoch": 1')
    refused(train("--resume", run), "metrics.jsonl", "cannot be read")
