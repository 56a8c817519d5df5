"""Keys that a config does not have, and several mistakes at once."""

from pathlib import Path

import pytest
from helpers.configs import mistake
from pydantic import ValidationError

from ttfs_cupy.experiment.config import load_config

# Unknown keys


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("sede", "seed"),
        ("netwrok.t_win", "network"),
        ("network.t_wim", "network.t_win"),
        ("network.psp-slope", "network.psp_slope"),
        ("network.psp_slope.strat", "network.psp_slope.start"),
        ("network.psp_slope.from_", "network.psp_slope.from"),
        ("data.datset", "data.dataset"),
        ("training.epoch", "training.epochs"),
        ("training.Batch_Size", "training.batch_size"),
        ("optimizer.wieght_decay", "optimizer.weight_decay"),
        ("schedule.milestone", "schedule.milestones"),
        ("schedule.nmae", "schedule.name"),
        ("optimizer.LR", "optimizer.lr"),
        ("watch.tensorbord", "watch.tensorboard"),
        ("log_every", "watch.log_every"),
        # the right key of another section
        ("lr", "optimizer.lr"),
        ("batch_size", "training.batch_size"),
        ("network.clip_norm", "optimizer.clip_norm"),
        ("optimizer.seed", "seed"),
        ("training.name", "optimizer.name or schedule.name"),
        ("epoch", "training.epochs"),
        ("schedule.qqq.x", None),
    ],
)
def test_an_unknown_key_names_the_nearest_right_one(minimal: Path, typo: str, meant: str | None) -> None:
    message = mistake(minimal, "network.psp_slope={from: 0, to: 1}", f"{typo}=1")
    assert message.startswith(f"--set {typo}=1: ")
    if meant is None:
        assert message.endswith(
            "is not a key: schedule has name, annealing, milestones, factor, warmup, rise, start_factor, end_factor"
        )
    else:
        key = typo.partition(".")[0] if meant == "network" else typo
        assert message.endswith(f"{key} is not a key: did you mean {meant}?")


def test_an_unknown_key_without_a_likeness_lists_the_keys(minimal: Path) -> None:
    assert mistake(minimal, "optimizer.nesterov=true").endswith(
        "optimizer.nesterov is not a key: optimizer has name, lr, beta1, beta2, eps, momentum, weight_decay, "
        "l2, clip_norm, weight_clip, fixed_sign"
    )
    assert "qqq is not a key: a config has seed, device," in mistake(minimal, "qqq=1")


@pytest.mark.parametrize("key", ["1", "null", "true", "2.5", "{a: 1}"])
def test_a_key_that_is_not_text(tmp_path: Path, key: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(f"data: {{dataset: digits}}\ntraining: {{epochs: 3, batch_size: 8}}\n? {key}\n: 2\n")
    assert mistake(path).startswith(str(path))


def test_a_dotted_key_in_a_file(minimal: Path) -> None:
    minimal.write_text(f"{minimal.read_text()}optimizer.lr: 1e-4\n")
    assert mistake(minimal).endswith("optimizer.lr must not be written with a dot: put lr into the section optimizer")


# Several mistakes


def test_the_first_of_several_mistakes(minimal: Path) -> None:
    wrong = ["training.epochs=0", "seed=-1", "optimizer.lr=0"]
    assert mistake(minimal, *wrong).startswith("--set seed=-1: seed must be ")
    assert mistake(minimal, *wrong).endswith("not -1 (and 2 more mistakes)")
    assert mistake(minimal, *wrong[:2]).endswith("(and 1 more mistake)")


def test_a_value_of_no_allowed_kind_is_one_mistake(minimal: Path) -> None:
    assert "more mistake" not in mistake(minimal, "network.model=5")
    assert "more mistake" not in mistake(minimal, "optimizer.weight_clip=[a, b]")


def test_a_mistyped_required_key_is_one_mistake(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("data: {dataset: digits}\ntraning: {epochs: 3, batch_size: 8}\n")
    assert mistake(path) == f"{path}: traning is not a key: did you mean training?"


def test_an_unknown_key_comes_before_a_missing_one(minimal: Path) -> None:
    message = mistake(minimal, "training={epochs: 3, qqq: 8}")
    assert message.startswith("--set training={epochs: 3, qqq: 8}: training.qqq is not a key")
    assert message.endswith("(and 1 more mistake)")


def test_a_config_is_frozen(minimal: Path) -> None:
    loaded = load_config(minimal)
    with pytest.raises(ValidationError, match="frozen"):
        loaded.network.t_win = 2.0
