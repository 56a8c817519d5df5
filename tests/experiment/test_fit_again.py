"""Trainer.fit from Python: called again after it was interrupted, and with a network that is not planned."""

import copy
import itertools
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.commands import SMALL, STEPS, timeless
from helpers.signals import raising_in_steps
from reference.comparison import DEVICE

from ttfs_cupy import RunDirectory, Trainer, dump_config, load_config, prepare
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep


def trainer_of(run: Path, *, is_planned: bool = True, **settings: Any) -> Trainer:
    changes = {**SMALL, "training.checkpoint_every": "{steps: 3}", **settings, "device": DEVICE}
    config = load_config("quickstart", [f"{key}={value}" for key, value in changes.items()])
    experiment = prepare(config)
    network = experiment.network
    if not is_planned:
        # as one that build() has just made
        network = copy.deepcopy(network)
    directory = RunDirectory(run) if run.exists() else RunDirectory.create(run, dump_config(experiment.config))
    optimizer = replace(experiment, network=network).optimizer()
    return Trainer(experiment.config, network, optimizer, experiment.training, experiment.validation, directory)


@pytest.mark.parametrize("where", ["training", "validation"])
@pytest.mark.parametrize("looks", [True, False])
def test_fit_again_after_control_c(where: str, looks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trainer_of(tmp_path / "whole")
    whole.fit()
    trainer = trainer_of(tmp_path / "run")
    calls, real = itertools.count(1), Evaluator.run

    def interrupted(self: Evaluator) -> None:
        if next(calls) == 1 and where == "validation":
            signal.raise_signal(signal.SIGINT)
        real(self)

    with raising_in_steps(monkeypatch, {5: signal.SIGINT} if where == "training" else {}):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Evaluator, "run", interrupted)
            trainer.fit()
        if looks:
            trainer.evaluator.over(trainer.validation, "a look")
        trainer.fit()
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
    assert (tmp_path / "run/last.safetensors").read_bytes() == (tmp_path / "whole/last.safetensors").read_bytes()


def test_fit_again_after_it_was_broken_off_within_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_of(tmp_path / "whole").fit()
    trainer = trainer_of(tmp_path / "run")
    calls, real = itertools.count(1), TrainingStep.run

    class BrokenError(BaseException):
        pass

    def broken(self: TrainingStep) -> None:
        real(self)
        if next(calls) == STEPS + 5:
            raise BrokenError

    with monkeypatch.context() as patch, pytest.raises(BrokenError):
        patch.setattr(TrainingStep, "run", broken)
        trainer.fit()
    trainer.fit()
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
    assert (tmp_path / "run/last.safetensors").read_bytes() == (tmp_path / "whole/last.safetensors").read_bytes()


def test_a_network_without_a_plan_goes_on_within_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_of(tmp_path / "whole").fit()
    with raising_in_steps(monkeypatch, {5: signal.SIGINT}), pytest.raises(KeyboardInterrupt):
        trainer_of(tmp_path / "run").fit()
    trainer = trainer_of(tmp_path / "run", is_planned=False)
    trainer.resume()
    trainer.fit()
    assert timeless(tmp_path / "run") == timeless(tmp_path / "whole")
