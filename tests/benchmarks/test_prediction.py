"""The figure of `predict`: sides take turns, and tell the same classes."""

from pathlib import Path

import pytest
from helpers.commands import command, run_small
from helpers.datasets_on_disk import write_mnist

from ttfs_cupy.benchmarks.prediction import __main__ as prediction


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mnist(tmp_path / "data", "fmnist")
    return tmp_path / "data"


def test_sides_take_turns_and_tell_the_same(root: Path) -> None:
    pytest.importorskip("torch")
    few = ("--images", "12", "--rounds", "2", "--batch-size", "5")
    outcome = command(prediction.main, "--root", root, *few, "--pytorch")
    assert (outcome.code, outcome.err) == (0, "")
    head, _, *rows = outcome.out.splitlines()
    assert head.startswith("12 images, ") and head.endswith("medians of 2 rounds")
    assert [row[:22].strip() for row in rows] == ["predict", "one by one", "PyTorch, one by one"]
    for row in rows:
        seconds, each, ratio, of_cores, ratio_of_cores, others = map(float, row[22:].split())
        assert seconds > 0 and each > 0 and ratio > 0 and of_cores > 0 and ratio_of_cores > 0
        assert others == 0
    assert rows[0].split()[3] == "1.00"


def test_a_run_on_other_images_is_refused(root: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=1)
    outcome = command(prediction.main, run, "--root", root)
    assert outcome.code == 2
    assert outcome.err == f"error: the network of '{run}' takes images of (1, 8, 8): it must be (1, 28, 28)\n"
