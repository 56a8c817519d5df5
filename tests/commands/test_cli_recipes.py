"""Numbers that others' recipes have, from the command line: constants of standardisation, weights drawn by layer and
bounded from the start, l2, and a part of the training images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.classified import classify, lines_of
from helpers.commands import cut_short, evaluate, preview, run_small, small, sweep, timeless, train, weights
from helpers.refusals import refused, tree
from PIL import Image
from reference.comparison import DEVICE

from ttfs_cupy import build, load, load_dataset
from ttfs_cupy.data import fingerprint, split
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.trained.opening import open_network, open_run

STANDARDISED = {"network__standardize": True, "data__mean": 0.1, "data__std": "[0.2]"}
# all of them at once
RECIPE: dict[str, Any] = {
    **STANDARDISED,
    "network__weight_mean": "{conv1: 0.02}",
    "network__weight_std": "{readout: 0.05}",
    "optimizer__weight_clip": "[-0.2, 0.25]",
    "optimizer__fixed_sign": True,
    "optimizer__l2": "1e-3",
    "data__subset": 0.5,
}


def settings(**changes: Any) -> list[str]:
    """Of a small run, for another command."""
    arguments = small(Path(), **changes)
    return arguments[arguments.index("--set") :]


@pytest.fixture(scope="module")
def recipe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("recipe") / "run", **RECIPE)


def test_a_run_by_all_of_these_goes_on_to_the_same_bits(
    recipe_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # within its first epoch, too, and before its first step
    for call in (1, 3, 8):
        broken = tmp_path / f"broken-{call}"
        cut_short(monkeypatch, call, *small(broken, **RECIPE, training__checkpoint_every="{steps: 1}"))
        outcome = train("--resume", broken, "--set", "training.checkpoint_every={minutes: 10}")
        assert (outcome.code, outcome.err) == (0, "")
        for name, array in weights(recipe_run, "last").items():
            np.testing.assert_array_equal(weights(broken, "last")[name], array, err_msg=name)


# data.mean and data.std


def test_a_run_predicts_with_the_constants_it_was_trained_with(recipe_run: Path, tmp_path: Path) -> None:
    written = checkpoint.metadata(recipe_run / "best.safetensors")["input"]
    constants = [np.float32(0.1).item()], [np.float32(0.2).item()]
    assert (written["mean"], written["std"]) == constants
    levels = load_dataset("digits", Path()).test.images[:8]
    images = [tmp_path / f"{number}.png" for number in range(8)]
    for file, pixels in zip(images, levels, strict=True):
        Image.fromarray(np.rint(pixels[..., 0] * (255 / 16)).astype(np.uint8)).save(file)
    lines = lines_of(classify(recipe_run, *images, "--json", "--top", "10"))
    found = np.array(
        [[one["probability"] for one in sorted(line["top"], key=lambda one: one["label"])] for line in lines]
    )

    def by(mean: float, std: float) -> np.ndarray:
        net = open_network(recipe_run).network
        pixels = levels.transpose(0, 3, 1, 2).astype(np.float32) / 16
        other = build(
            [8, "P", 16, "P"], (1, 8, 8), 10, DEVICE, standardize=True, mean=np.array([mean]), std=np.array([std])
        )
        other.load_state_dict(net.state_dict())
        readouts = np.exp(np.asarray(other.forward(other.encode(pixels)), np.float64))
        return readouts / readouts.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(found, by(0.1, 0.2), atol=1e-5)
    own = load_dataset("digits", Path())
    assert np.abs(found - by(own.mean[0], own.std[0])).max() > 0.01
    # and the same with the data at hand
    for encoder in (open_run(recipe_run).network.encoder, load(recipe_run).network.encoder):
        assert (encoder.mean.tolist(), encoder.std.tolist()) == constants
    changed = open_network(recipe_run, ["data.mean=0.3", "data.std=0.4"]).network.encoder
    assert (changed.mean, changed.std) == (np.float32(0.3), np.float32(0.4))


def test_constants_that_do_nothing_or_do_not_fit_leave_nothing(tmp_path: Path) -> None:
    given = {"data__mean": 0.1, "data__std": 0.2}
    idle = "data.mean and data.std have no effect, since nothing is standardised: leave them out, or choose network."
    for changes, said in (
        (given, idle),
        ({**given, "data__std": "[1, 2]", "network__standardize": True}, "data.std has 2 numbers, and an image here 1"),
        ({"data__std": 1}, "data.std needs data.mean beside it: set both, or neither"),
    ):
        refused(train(*small(tmp_path / "run", **changes)), said)
    refused(
        preview("quickstart", "-o", tmp_path / "sheet.png", *settings(**given)),
        idle,
    )
    assert tree(tmp_path) == {}


def test_constants_of_a_coding_layer_are_drawn_in_a_preview(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    sheets = []
    for number, constants in enumerate(((0.3, 0.4), (0.3, 0.4), (0.1, 0.2))):
        changes = {"network__encoding": "direct", "data__mean": constants[0], "data__std": constants[1]}
        outcome = preview("quickstart", "-o", tmp_path / f"{number}.png", *settings(**changes))
        assert (outcome.code, outcome.err) == (0, "")
        sheets.append((tmp_path / f"{number}.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


# network.weight_mean and network.weight_std


def test_weights_are_drawn_by_layer(tmp_path: Path) -> None:
    still = {"optimizer__lr": "1e-30", "training__epochs": 1}
    run = run_small(
        tmp_path / "run", **still, network__weight_mean="{readout: 0.5}", network__weight_std="{conv1: 1e-3}"
    )
    plain = build([8, "P", 16, "P"], (1, 8, 8), 10, DEVICE).state_dict()
    found = weights(run)
    np.testing.assert_array_equal(found["conv2.weight"], plain["conv2.weight"])
    np.testing.assert_allclose(found["conv1.weight"], plain["conv1.weight"] * (1e-3 / np.sqrt(2 / 9)), rtol=1e-5)
    np.testing.assert_allclose(found["readout.weight"], plain["readout.weight"] + 0.5, rtol=1e-5)
    outcome = train(*small(tmp_path / "other", network__weight_std="{conv3: 1}"))
    refused(outcome, "weight_std names layer 'conv3', but the layers with weights are conv1, conv2, readout")
    assert not (tmp_path / "other").exists()


# optimizer.weight_clip and optimizer.l2


def test_weights_are_bounded_before_the_first_step(tmp_path: Path) -> None:
    still = {"optimizer__lr": "1e-30", "training__epochs": 1, "optimizer__weight_clip": "[-0.1, 0.2]"}
    outcome = train(*small(tmp_path / "run", **still))
    assert (outcome.code, outcome.err) == (0, "")
    plain = build([8, "P", 16, "P"], (1, 8, 8), 10, DEVICE).state_dict()
    bounded = {name: np.clip(array, np.float32(-0.1), np.float32(0.2)) for name, array in plain.items()}
    moved = sum(int((array != plain[name]).sum()) for name, array in bounded.items())
    assert f"\noptimizer.weight_clip moved {moved} weights to its bounds, before the first step\n" in outcome.out
    first = checkpoint.load(tmp_path / "run" / "previous.safetensors")[0]
    for name, array in bounded.items():
        np.testing.assert_array_equal(first[f"network.{name}"], array)
    # weights of a file, too; and where none lies outside nothing is said
    again = train(*small(tmp_path / "again", **still), "--init-from", tmp_path / "run")
    assert again.code == 0 and "moved" not in again.out
    still["optimizer__weight_clip"] = "[-0.05, 0.05]"
    narrow = train(*small(tmp_path / "narrow", **still), "--init-from", tmp_path / "run")
    assert "optimizer.weight_clip moved" in narrow.out
    assert max(np.abs(array).max() for array in weights(tmp_path / "narrow").values()) == np.float32(0.05)


def test_l2_goes_by_way_of_the_moments(tmp_path: Path) -> None:
    """Of a gradient of next to nothing, without momentum, each of two steps takes lr l2 off a weight."""
    changes = {"training__epochs": 1, "training__batch_size": 1000, "schedule__name": "exponential"}
    changes |= {"optimizer__name": "sgd", "optimizer__lr": 1e-3, "optimizer__clip_norm": "1e-6"}
    plain, with_l2 = (weights(run_small(tmp_path / str(l2), **changes, optimizer__l2=l2)) for l2 in (0, 100))
    for name, array in plain.items():
        np.testing.assert_allclose(with_l2[name], array * 0.9**2, rtol=1e-4, atol=1e-6)


# data.subset


def test_a_run_on_a_part_of_the_images(tmp_path: Path) -> None:
    digits = load_dataset("digits", Path())
    outcome = train(*small(tmp_path / "run", data__subset=0.25))
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits: 323 training, 36 validation and 360 test images" in outcome.out
    train_images, held_out = split(digits.train.labels, 0.1, 0, 0.25)
    used = np.union1d(train_images, held_out)
    told = json.loads((tmp_path / "run" / "split.json").read_text())
    assert told == fingerprint(digits.train, digits.test, held_out, used)
    # by count and by file it is the same run
    file = tmp_path / "used.txt"
    file.write_text("".join(f"{index}\n" for index in used))
    for name, value in (("count", len(used)), ("file", str(file))):
        run = run_small(tmp_path / name, data__subset=value)
        assert timeless(run) == timeless(tmp_path / "run")
        assert evaluate(run).code == 0
    # whose file has changed since
    before = tree(run)
    file.write_text("".join(f"{index}\n" for index in used[:-1]))
    said = (
        f"the run in '{run}' used other training images than would be now: data.subset, its file or the seed is another"
    )
    for outcome in (evaluate(run), train("--resume", run)):
        refused(outcome, said)
    refused(evaluate(run, "--set", "data.subset=null"), "used a part of its training images", "data.subset")
    assert tree(run) == before


def test_a_run_on_all_images_is_none_on_a_part(short_run: Path) -> None:
    assert "subset" not in json.loads((short_run / "split.json").read_text())
    refused(evaluate(short_run, "--set", "data.subset=0.5"), "used all its training images", "data.subset")


def test_a_subset_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    for subset, said in (
        (1437, "1437 of 1437 training images cannot be a subset: at least one must be used, and one left out"),
        (0.05, "training.batch_size 128 is larger than the training set of 65 images"),
    ):
        refused(train(*small(tmp_path / "run", data__subset=subset)), said)
    assert tree(tmp_path) == {}


def test_a_sweep_over_how_many_images_there_are(tmp_path: Path) -> None:
    arguments = small(tmp_path / "sweep", training__epochs=1, training__batch_size=32)
    outcome = sweep(*arguments, "--set", "data.subset=0.1,0.2")
    assert outcome.code == 0, outcome.err
    runs = sorted(path.parent for path in (tmp_path / "sweep").glob("*/split.json"))
    assert len(runs) == 2
    digests = {json.loads((run / "split.json").read_text())["subset"] for run in runs}
    assert len(digests) == 2
