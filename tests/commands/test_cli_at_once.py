"""Several commands in one directory at once: none mixes two runs."""

import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz.runs import Pairs
from helpers.children import training
from helpers.commands import evaluate, small, timeless, train
from helpers.refusals import refused, tree

from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files.run_directory import RunDirectory


def test_two_starts_at_once(tmp_path: Path) -> None:
    pairs = Pairs(tmp_path)
    # seeds that bring each kind of pair
    outcomes = {pairs.attempt(random.Random(seed)) for seed in (0, 1, 5, 19)}
    assert outcomes >= {"default: two directories", "output: one refused", "beside: one refused"}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A run that goes on until the test ends, and its process."""
    run = tmp_path / "live"
    child = training(*small(run, training__epochs=100_000), folder=tmp_path / "said")
    try:
        while not (run / "best.safetensors").exists():
            time.sleep(0.01)
        yield run, child.pid
    finally:
        child.kill()
        child.wait()


def test_a_live_run_is_nobody_elses(live: tuple[Path, int], tmp_path: Path) -> None:
    run, pid = live
    owner = f"process {pid} on {socket.gethostname()}"
    refused(train("--resume", run), f"'{run}' is in use by {owner}: let it end, or interrupt it, first")
    advice = f"name another folder with --output, or, once that has ended, go on with --resume {run}"
    refused(train(*small(run)), f"'{run}' already holds a run, of {owner}: {advice}")
    # reading it is anybody's
    assert evaluate(run).code == 0


def test_a_live_run_without_best_weights_is_waited_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    child = training(*small(run, training__epochs=100_000, network__psp_slope="{from: 0, to: 1}"), folder=tmp_path)
    try:
        while not (run / "metrics.jsonl").exists():
            time.sleep(0.01)
        refused(
            evaluate(run), "no best weights yet", f"; process {child.pid} on {socket.gethostname()} is at work on it"
        )
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("output", [True, False])
@pytest.mark.parametrize(
    "mistake", [{"data__root": "absent", "data__dataset": "mnist"}, {"training__batch_size": 10**6}]
)
def test_a_start_that_fails_leaves_no_directory(mistake: dict[str, object], output: bool, here: Path) -> None:
    arguments = small(here / "deep" / "run", **mistake)
    if not output:
        arguments[1:3] = []
    refused(train(*arguments))
    assert tree(here) == {}


def test_a_directory_that_was_there_stays_if_a_start_fails(here: Path) -> None:
    (here / "run").mkdir()
    refused(train(*small(here / "run", training__batch_size=10**6)))
    assert tree(here) == {"run": None}


def test_a_directory_that_is_claimed_is_passed_by(here: Path) -> None:
    arguments = small(here, training__epochs=1)
    arguments[1:3] = []
    claimed = RunDirectory.claim_unused(here / "runs" / "quickstart")
    assert train(*arguments).code == 0
    claimed.release()
    assert {path.name for path in (here / "runs").iterdir()} == {"quickstart-2"}
    assert load_config(here / "runs" / "quickstart-2" / "config.yaml").output == "runs/quickstart-2"


def test_a_run_that_was_killed_before_it_began_begins_anew(good_run: Path, here: Path) -> None:
    """With the weights that its config names."""
    run, whole = here / "run", here / "whole"
    initial = {"network__initial_weights": str(good_run / "best.safetensors"), "training__epochs": 1}
    assert train(*small(whole, **initial)).code == 0
    run.mkdir()
    (run / "config.yaml").write_text((whole / "config.yaml").read_text())
    (run / "log.txt").touch()
    refused(train(*small(run)), "already holds a run", f"--resume {run}")
    assert train("--resume", run).code == 0
    assert timeless(run) == timeless(whole)
