"""What a run held out, by a share, a count or a file; and that it does not go on with other images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import cut_short, evaluate, metrics, resumes_to, run_small, small, timeless, train
from helpers.datasets_on_disk import MNIST_FOLDERS, separable, write_idx
from helpers.refusals import refused, tree

from ttfs_cupy.data import fingerprint, load_dataset, split


def of_mnist(root: Path, train: int = 60, test: int = 20, first: int = 0) -> dict[str, str]:
    """Settings of a run on a small MNIST under `root`. first: the first training image's label."""
    folder = root / MNIST_FOLDERS["mnist"] / "raw"
    for half, count, seed in (("train", train, 0), ("t10k", test, 1)):
        images, labels = separable(count, (28, 28, 1), 10, seed)
        if half == "train":
            labels[0] = first
        write_idx(folder, half, images[..., 0], labels, zipped=False)
    return {
        "data__dataset": "mnist",
        "data__root": str(root),
        "network__model": "[2, P]",
        "training__batch_size": "10",
        "training__epochs": "2",
    }


def test_a_run_says_what_it_held_out(short_run: Path) -> None:
    digits = load_dataset("digits", Path())
    held_out = split(digits.train.labels, 0.1, 0).validation
    told = json.loads((short_run / "split.json").read_text())
    assert told == fingerprint(digits.train, digits.test, held_out)
    # each class has its share of the digits, of which there are about as many of each
    assert np.ptp(np.bincount(digits.train.labels[held_out])) <= 1


def test_a_count_and_a_file_hold_out_as_a_share_does(short_run: Path, tmp_path: Path) -> None:
    labels = load_dataset("digits", Path()).train.labels
    file = tmp_path / "held out.txt"
    file.write_text("".join(f"{index}\n" for index in split(labels, 144, 0).validation[::-1]))
    for name, value in (("count", 144), ("file", str(file))):
        run = run_small(tmp_path / name, data__validation=value)
        assert timeless(run) == timeless(short_run)
        assert (run / "split.json").read_bytes() == (short_run / "split.json").read_bytes()
        assert evaluate(run).code == 0


def test_a_run_with_a_file_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "held out.npy", np.arange(100, 300, dtype=np.uint16))
    settings = {"data__validation": str(tmp_path / "held out.npy")}
    whole, broken = run_small(tmp_path / "whole", **settings), tmp_path / "broken"
    assert metrics(whole)[0]["validation_accuracy"] * 200 == pytest.approx(
        round(metrics(whole)[0]["validation_accuracy"] * 200)
    )
    cut_short(monkeypatch, 12, *small(broken, **settings))
    resumes_to(whole, broken)


def test_a_file_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "held out.txt").write_text("5\n1437\n")
    outcome = train(*small(tmp_path / "run", data__validation=str(tmp_path / "held out.txt")))
    refused(outcome, "held out.txt' holds the index 1437, and the training images are 0 to 1436")
    assert set(tree(tmp_path)) == {"held out.txt"}


# Other images than before


def test_a_changed_file_seed_or_share_is_refused(short_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "held out.txt"
    file.write_text("1\n2\n3\n" + "\n".join(map(str, range(500, 600))))
    run = run_small(tmp_path / "run", data__validation=str(file))
    file.write_text("1\n2\n4\n" + "\n".join(map(str, range(500, 600))))
    before = tree(run)
    said = (
        f"the run in '{run}' held out other images for validation than would be now: data.validation, its file or the"
    )
    for outcome in (evaluate(run), train("--resume", run)):
        refused(outcome, said)
    assert tree(run) == before
    # as it was
    file.write_text("3\n1\n2\n" + "\n".join(map(str, range(500, 600))))
    assert evaluate(run).code == train("--resume", run).code == 0
    refused(evaluate(run, "--set", "data.validation=103"), said)
    for change in ("seed=1", "data.validation=145"):
        refused(evaluate(short_run, "--set", change), "held out other images for validation than would be now")


def test_a_changed_data_set_is_refused(tmp_path: Path) -> None:
    settings = of_mnist(tmp_path / "data")
    run = run_small(tmp_path / "run", **settings)
    told = f"the run in '{run}' was made with other data: "
    for changes, said in (
        ({"train": 61}, "of 60 training images, and there are 61 now"),
        ({"test": 19}, "of 20 test images, and there are 19 now"),
        ({"first": 7}, "their labels were others"),
    ):
        of_mnist(tmp_path / "data", **changes)
        for outcome in (evaluate(run), train("--resume", run)):
            refused(outcome, told + said)
    of_mnist(tmp_path / "data")
    assert evaluate(run).code == train("--resume", run).code == 0
    # elsewhere it is the same data
    of_mnist(tmp_path / "elsewhere")
    assert evaluate(run, "--set", f"data.root={tmp_path / 'elsewhere'}").code == 0


# Runs without what tells it


def test_an_earlier_versions_run_is_evaluated_and_does_not_go_on(short_run: Path, tmp_path: Path) -> None:
    """It held out other images: to go on would train on them."""
    run = shutil.copytree(short_run, tmp_path / "run")
    (run / "split.json").unlink()
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "")
    assert "data           unknown to the run, which has no split.json: it may have seen others\n" in outcome.out
    before = tree(run)
    refused(train("--resume", run), f"'{run}' cannot go on: it has no split.json that says which images it held out")
    assert tree(run) == before


def test_what_was_killed_before_it_had_weights_begins_anew_without(tmp_path: Path, short_run: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = (short_run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace(str(short_run), str(run)))
    assert train("--resume", run).code == 0
    assert (run / "split.json").read_bytes() == (short_run / "split.json").read_bytes()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read: it is not JSON"),
        (b"[1]", "cannot be read: it is [1], not keys and values"),
        (b"\xff", "cannot be read: it is not JSON"),
        (
            b"{}",
            "is not the file that ttfs-train wrote: it must hold training_images, test_images, labels, pixels",
        ),
        (b" " * 70_000, "cannot be read: it has more than 65536 bytes"),
    ],
)
def test_a_damaged_file(content: bytes, said: str, short_run: Path) -> None:
    path = short_run / "split.json"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        for outcome in (evaluate(short_run), train("--resume", short_run)):
            refused(outcome, f"'{path}' {said}")
    finally:
        path.write_bytes(before)
