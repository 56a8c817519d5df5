"""What a config's keys do in a run, and that the same seed gives the same bits."""

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import DEVICE, STEPS, metrics, run_small, small, timeless, train, weights

from ttfs_cupy import models

# Determinism


# enough work for every thread: elements beyond one thread's share, patches of several tasks
BUSY: dict[str, Any] = {
    "network__model": "[32, 32, P]",
    "training__batch_size": 128,
    "training__epochs": 1,
    "tune": False,
}


@pytest.fixture(scope="module")
def busy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("busy") / "run", **BUSY)


@pytest.mark.parametrize("changes", [{}, {"threads": 1}, {"threads": 2}, {"threads": 3}])
def test_the_same_seed_gives_the_same_bits(changes: dict[str, Any], busy_run: Path, tmp_path: Path) -> None:
    if changes and DEVICE != "cpu":
        pytest.skip("threads are the CPU's")
    run = run_small(tmp_path / "run", **BUSY, **changes)
    assert timeless(run) == timeless(busy_run)
    for name in ("best.safetensors", "last.safetensors"):
        assert (run / name).read_bytes() == (busy_run / name).read_bytes(), name


def test_another_seed_gives_other_weights_and_another_split(busy_run: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", **BUSY, seed=1)
    assert timeless(run) != timeless(busy_run)
    for name, array in weights(run).items():
        assert np.mean(array != weights(busy_run)[name]) > 0.99, name


# What a config's keys do


def test_patience_ends_a_run_that_no_longer_improves(tmp_path: Path) -> None:
    # so small a rate moves no weight: no epoch is better than the first, and of equals the last one counts
    run = run_small(tmp_path / "run", training__epochs=50, training__patience=3, optimizer__lr="1e-30")
    *epochs, last = metrics(run)
    assert len(epochs) == 4
    assert last["best_epoch"] == 4


def test_weight_clip_bounds_every_weight(short_run: Path, tmp_path: Path) -> None:
    low, high = -0.05, 0.04
    run = run_small(tmp_path / "run", optimizer__weight_clip=[low, high])
    assert max(array.max() for array in weights(short_run).values()) > 2 * high
    values = np.concatenate([array.ravel() for array in weights(run).values()])
    assert values.min() == np.float32(low)
    assert values.max() == np.float32(high)


@pytest.mark.parametrize("fixed", [True, False])
def test_fixed_sign_keeps_every_sign(fixed: bool, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", optimizer__fixed_sign=fixed, optimizer__lr=0.01)
    born = models.build([8, "P", 16, "P"], (1, 8, 8), 10, DEVICE, seed=0).state_dict()
    flips = sum(int((array * born[name] < 0).sum()) for name, array in weights(run).items())
    at_zero = sum(int((array == 0).sum()) for array in weights(run).values())
    assert (flips == 0) is fixed
    assert (at_zero > 0) is fixed


@pytest.mark.parametrize(("norm", "clipped"), [(1e-6, STEPS), (None, 0), (1e6, 0)])
def test_clip_norm_clips_and_counts(norm: float | None, clipped: int, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", optimizer__clip_norm=norm, training__epochs=1)
    assert metrics(run)[0]["clipped_steps"] == clipped


def test_clip_norm_bounds_what_sgd_may_move(tmp_path: Path) -> None:
    # each step moves the weights by at most lr * clip_norm
    settings = {"optimizer__name": "sgd", "optimizer__lr": 0.1, "training__epochs": 1, "schedule__name": "exponential"}
    run = run_small(tmp_path / "run", **settings, optimizer__clip_norm=0.01)
    born = models.build([8, "P", 16, "P"], (1, 8, 8), 10, DEVICE, seed=0).state_dict()
    moved = np.sqrt(sum(float(((array - born[name]) ** 2).sum()) for name, array in weights(run).items()))
    assert 0 < moved <= STEPS * 0.1 * 0.01 * 1.0001


def test_momentum_is_used_and_kept(tmp_path: Path) -> None:
    settings = {"optimizer__name": "sgd", "optimizer__lr": 0.01, "training__epochs": 1, "tune": False}
    plain = run_small(tmp_path / "plain", **settings)
    momentum = run_small(tmp_path / "momentum", **settings, optimizer__momentum=0.9)
    assert metrics(momentum)[0]["train_loss"] < metrics(plain)[0]["train_loss"]
    assert np.abs(weights(momentum, "last")["optimizer.velocity"]).max() > 0


def test_weight_decay_shrinks_weights(short_run: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", optimizer__weight_decay=10)

    def norm(path: Path) -> float:
        return float(np.sqrt(sum((array**2).sum() for array in weights(path).values())))

    assert norm(run) < 0.9 * norm(short_run)


@pytest.mark.parametrize(
    "changes",
    [
        {"network__clip": "separate"},
        {"network__clip": "none"},
        {"network__psp_slope": 0},
        {"network__encoding": "direct"},
        {"network__standardize": True},
        {"network__t_win": 2},
        {"optimizer__name": "sgd", "optimizer__momentum": 0.9, "optimizer__lr": 0.05},
    ],
    ids=str,
)
def test_variants_learn(changes: dict[str, Any], tmp_path: Path) -> None:
    # chance is 10 %
    run = run_small(tmp_path / "run", network__model="[32, P]", training__batch_size=32, training__epochs=3, **changes)
    assert metrics(run)[-1]["test_accuracy"] > 0.75


def test_a_readout_of_spike_times_learns(tmp_path: Path) -> None:
    # A class that is silent gets no gradient, and some are from the first weights on: they stay so, and are never
    # predicted. Three seeds reached 51 to 69 %; chance is 10 %.
    settings = {"network__model": "[32, P]", "training__batch_size": 32, "training__epochs": 3, "optimizer__lr": 0.001}
    run = run_small(tmp_path / "run", **settings, network__readout="spike_times")
    *epochs, last = metrics(run)
    assert last["test_accuracy"] > 0.35
    assert epochs[-1]["train_loss"] < epochs[0]["train_loss"]
    assert list(last["firing_rates"]) == ["conv1", "readout"]


def test_standardised_input_is_told_to_be_no_causal_code(tmp_path: Path) -> None:
    sentence = "not a causal time-to-first-spike code"
    assert sentence in train(*small(tmp_path / "a", network__standardize=True, training__epochs=1)).out
    assert sentence not in train(*small(tmp_path / "b", training__epochs=1)).out


def test_auto_device_says_why(tmp_path: Path) -> None:
    arguments = ["auto" if argument == DEVICE else argument for argument in small(tmp_path / "run", training__epochs=1)]
    first = train(*arguments).out.splitlines()[0]
    assert re.search(r" on (CPU, \d+ threads?|GPU \d+, .+) \(.+\)$", first)
    assert "asked for" not in first


def test_nothing_is_written_outside_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_small(tmp_path / "run", training__epochs=1)
    assert os.listdir(tmp_path) == ["run"]  # noqa: PTH208


def test_metrics_are_json_that_other_readers_accept(short_run: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    for line in (short_run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)
