"""`ttfs list`: what there is to name, from the registries themselves."""

import io
import sys

import pytest
from helpers.commands import command
from helpers.refusals import refused

from ttfs_cupy import list as list_command
from ttfs_cupy import models
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data.augmentation import AUGMENTATIONS, OPERATIONS
from ttfs_cupy.data.sources.datasets import DATASETS
from ttfs_cupy.experiment.config import text

NAMES = {
    "configs": text.names(),
    "models": models.names(),
    "datasets": [*DATASETS],
    "augmentations": [*AUGMENTATIONS],
    "operations": [*OPERATIONS],
    "algorithms": [*algorithms()],
}


def lines(*arguments: str) -> dict[str, str]:
    outcome = command(list_command.main, *arguments)
    assert (outcome.code, outcome.err) == (0, "")
    return dict(line.split("\t") for line in outcome.out.splitlines())


def test_what_can_be_listed() -> None:
    assert [*lines()] == [*NAMES]


@pytest.mark.parametrize("topic", NAMES)
def test_a_topic(topic: str) -> None:
    found = lines(topic)
    assert [*found] == NAMES[topic]
    # a name is one word, and all that is said of it one line
    assert all(name.split() == [name] and line and line.isprintable() for name, line in found.items())


@pytest.mark.parametrize(
    ("topic", "name", "line"),
    [
        ("configs", "quickstart", "Handwritten digits, 8x8 pixels, in seconds on a CPU; nothing is downloaded."),
        ("datasets", "cifar10", "32 x 32 pixels, 3 channels, 10 classes"),
        ("datasets", "folder", "Folders of photographs, one for each class, as torchvision's ImageFolder has them"),
        ("augmentations", "none", "nothing is drawn"),
        ("augmentations", "flip", "[RandomHorizontalFlip]"),
        ("operations", "RandAugment", "num_ops changes one after the other, each one of 14, all of the same magnitude"),
        (
            "operations",
            "RandomErasing",
            "With probability p a rectangle of one level, anywhere within the image (Zhong et al. 2020)",
        ),
        ("algorithms", "gemm", "Convolution as a matrix product: patches (im2col) x weights"),
    ],
)
def test_what_is_said_of_a_name(topic: str, name: str, line: str) -> None:
    assert lines(topic)[name] == line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert list_command.main(["datasets"]) == 0
    shown = terminal.getvalue().splitlines()
    assert shown[0] == "mnist     28 x 28 pixels, 1 channel, 10 classes"
    assert shown[6] == "cifar100  32 x 32 pixels, 3 channels, 100 classes"


def test_what_cannot_be_listed() -> None:
    refused(command(list_command.main, "nix"), "'nix'", *NAMES, "see ttfs-list --help")
