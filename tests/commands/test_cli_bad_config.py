"""A config, or a command line, that cannot be: one sentence, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from helpers.commands import Outcome, small, train, weights
from helpers.refusals import refused, tree

from ttfs_cupy.device import cuda_trouble

# an empty working directory
pytestmark = pytest.mark.usefixtures("here")


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
        (GOOD + "network: {t_win: 0}\n", ["network.t_win", "from 1e-6 to 1e6"]),
        (GOOD + "network: {t_win: -1}\n", ["network.t_win", "from 1e-6 to 1e6"]),
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
    refused(train(here), str(here), "it is a directory, not a file")
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
        (["quickstart", "--seed", "-1"], ["error: --seed -1: seed must be"]),
        (["quickstart", "--device", "gpu"], ["error: --device gpu: device must be auto, cuda"]),
        (["quickstart", "--output", ""], ["error: argument --output: it must name a path"]),
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
    refused(Outcome(done.returncode, done.stdout, done.stderr), "network.t_win", "from 1e-6 to 1e6")
    assert done.stdout == ""
    assert tree(here) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training__batch_size": 1294}, ["training.batch_size 1294", "1293 images", "digits"]),
        ({"network__model": "[8, P, P, P, 16, P]"}, ["pool4", "2 x 2", "1 x 1", "8 x 8"]),
        ({"network__model": "[{convolution: 8, kernel: 11, padding: 1}]"}, ["conv1", "11 x 11", "8 x 8"]),
        ({"network__model": "[100000, 1000000000]"}, ["conv2 is too large", "weights"]),
        ({"network__model": "vgg12"}, ["vgg12", "did you mean 'vgg11'"]),
        ({"network__model": "vgg11x.yaml"}, ["vgg11x.yaml", "no such file"]),
        ({"network__model": "[8, Q]"}, ["layer 2", "'Q'"]),
        ({"network__clip": "separate", "network__psp_slope": 0.5}, ["network.clip", "separate"]),
        ({"data__augment": "cifra"}, ["data.augment", "cifra", "did you mean cifar?"]),
        ({"data__augment": "cifar"}, ["augmentations", "0..16"]),
        ({"data__validation": 0.0001}, ["validation share"]),
        ({"data__class_weights": [1, 2]}, ["data.class_weights has 2 weights", "10 classes"]),
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
