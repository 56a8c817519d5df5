"""`train --dry-run`: what a run would be, and nothing written."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.commands import Outcome, small, train
from helpers.refusals import refused, tree

from ttfs_cupy.experiment import dry_run
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.ranks.group import ALONE


def dry(**changes: Any) -> Outcome:
    return train(*small(Path("run"), **changes), "--dry-run")


def said(outcome: Outcome) -> dict[str, str]:
    """The lines of the part "run", by the words that they begin with."""
    assert (outcome.code, outcome.err) == (0, "")
    _, _, run = outcome.out.partition("\nrun\n\n")
    return {line[:13].strip(): line[13:] for line in run.split("\n\n")[0].splitlines()}


def test_it_shows_what_would_be_and_writes_nothing(here: Path) -> None:
    outcome = dry(training__accumulate=3)
    assert tree(here) == {}
    config, _, rest = outcome.out.partition("\nnetwork\n\n")
    assert rest.startswith("layer ") and "bytes in one arena, for training with batches of up to 128" in rest
    assert rest.endswith("\nnothing was written\n")
    lines = said(outcome)
    assert [*lines][:5] == ["device", "memory", "training", "validation", "test"]
    assert lines["training"] == ("1,293 images; an epoch has 11 batches of up to 128, and 4 steps of the optimiser")
    assert (lines["validation"], lines["test"]) == ("144 images", "360 images")
    assert {"a batch", "an epoch", "2 epochs"} <= lines.keys()
    # the config is what the run would write, and one starts from it
    (here / "my.yaml").write_text(config.removeprefix("config\n"))
    started = train("my.yaml")
    assert started.code == 0
    resolved = load_config(here / "run" / "config.yaml")
    assert resolved == load_config(here / "my.yaml") and resolved.training.accumulate == 3


def test_a_run_is_not_in_its_way(good_run: Path) -> None:
    before = tree(good_run)
    assert train(*small(good_run), "--dry-run").code == 0
    assert tree(good_run) == before


@pytest.mark.parametrize(
    ("changes", "epoch", "all_epochs"),
    [
        # 11 batches of training, and 2 of validation
        ({"training__patience": "null"}, "23 s", "46 s"),
        ({"training__patience": 5}, "23 s", "46 s, or fewer: training.patience may end it"),
        # averaged weights are validated, too
        ({"training__average": 0.9, "training__patience": "null"}, "24 s", "48 s"),
        ({"training__epochs": 1000, "training__patience": "null"}, "23 s", "6:23:20"),
    ],
)
def test_how_long_it_would_take(
    changes: dict[str, Any], epoch: str, all_epochs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "_times", lambda trainer: (2.0, 0.5))
    lines = said(dry(**changes))
    assert lines["a batch"] == "2 s to train on, 500 ms to validate"
    assert lines["an epoch"] == f"about {epoch}"
    assert next(line for name, line in lines.items() if name.endswith("epochs")) == f"about {all_epochs}"


class Clock:
    """Goes on by so many seconds with each batch."""

    def __init__(self, seconds: float):
        self.seconds, self.now, self.batches = seconds, 0.0, 0

    def perf_counter(self) -> float:
        return self.now

    def each(self, batches: object, epoch: int) -> Iterator[int]:
        # an epoch has three batches
        return iter([32, 32, 16])

    def run(self) -> None:
        self.batches += 1
        # loading and recording takes longer
        self.now += self.seconds * (100 if self.batches <= 2 else 1)


@pytest.mark.parametrize(("seconds", "timed"), [(0.001, 200), (0.03, 10), (0.5, 4), (30.0, 1)])
def test_so_many_batches_are_timed(seconds: float, timed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(seconds)
    monkeypatch.setattr(dry_run, "time", clock)
    trainer = SimpleNamespace(network=SimpleNamespace(device=SimpleNamespace(synchronize=lambda: None)), group=ALONE)
    found = dry_run._seconds_per_batch(clock, None, 2, trainer)  # type: ignore[arg-type]
    assert found == pytest.approx(seconds)
    assert clock.batches - 2 in (timed, timed + 1)


def test_the_slope_is_that_of_most_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    slopes = []
    monkeypatch.setattr(dry_run, "_times", lambda trainer: slopes.append(trainer.network.psp_slope) or (1.0, 1.0))
    said(dry(network__psp_slope="{from: 0, to: 1, start: 0.2, end: 0.7}"))
    assert slopes == [pytest.approx(0.6)]


def test_it_shows_what_a_run_would_begin_with(good_run: Path, here: Path) -> None:
    outcome = train(*small(Path("run")), "--dry-run", "--init-from", good_run)
    assert {"device", "training"} <= said(outcome).keys()
    table = outcome.out.partition(f"\nbegins with the weights in {good_run / 'best.safetensors'}:\n")[2]
    assert table.splitlines()[0] == "  'conv1.weight'   float32 (8, 1, 3, 3)  -> conv1.weight"
    assert table.splitlines()[3:5] == ["", "run"]
    assert tree(here) == {}


def test_what_does_not_fit_is_told(here: Path) -> None:
    refused(dry(training__batch_size=10**6), "training.batch_size 1000000 is larger than the training set")
    refused(dry(network__t_win=-1), "network.t_win")
    assert tree(here) == {}


def test_no_run_is_resumed_dry(good_run: Path) -> None:
    before = tree(good_run)
    refused(train("--resume", good_run, "--dry-run"), "--dry-run shows what a new run would do: leave out --resume")
    assert tree(good_run) == before
