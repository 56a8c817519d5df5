"""What a run would be: its config as resolved, its network, its memory, and about how long it would take."""

import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import count, islice
from pathlib import Path

from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.data import Batches
from ttfs_cupy.engine.steps.batch_step import BatchStep
from ttfs_cupy.experiment.agreement import told
from ttfs_cupy.experiment.config import dump_config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.prepare import Experiment
from ttfs_cupy.experiment.trainer import Trainer
from ttfs_cupy.experiment.wiring import wired

# Batches that are timed: until so many are done, and take so long together that a clock tells, or until so long
BATCHES, SECONDS_AT_LEAST, SECONDS_AT_MOST = 10, 0.2, 2.0


def show(experiment: Experiment) -> None:
    """Prints all of it. A few steps of training are taken, after which the network is good for nothing; nothing is
    written. Raises UserError as training does where something does not fit."""
    with wired(experiment.group, experiment.network, experiment.config.training.batch_size) as wiring:
        # takes no part in its directory before `fit`
        sets = experiment.training, experiment.validation
        none = RunDirectory(Path("none"))
        trainer = Trainer(experiment.config, experiment.network, experiment.optimizer(), *sets, none, wiring)
        _show(experiment, trainer, wiring.lines)


def _show(experiment: Experiment, trainer: Trainer, ranks: Sequence[str]) -> None:
    """ranks: lines about the processes, if there are several."""
    config, network, training = experiment.config, experiment.network, experiment.training
    steps = trainer.length.steps
    say("config", "", dump_config(config))
    say("network", "", network.summary(), "", *experiment.begun_with, *[""] * bool(experiment.begun_with))
    assert network.planned is not None
    say(
        "run",
        "",
        f"device       {experiment.device.description} ({experiment.device_reason})",
        *ranks,
        f"memory       {network.planned.bytes / 2**20:,.1f} MiB for activations and gradients",
        f"training     {len(training.members):,} images; an epoch has {_counted(len(training), 'batch', 'batches')} of "
        f"up to {training.batch_size}, and {_counted(steps, 'step', 'steps')} of the optimiser",
        f"validation   {len(experiment.validation.members):,} images",
        f"test         {len(experiment.test.members):,} images",
    )
    if isinstance(slope := config.network.psp_slope, PspSlopeSchedule):
        # at 0, where many runs begin, a step computes less than most of a run's do
        network.psp_slope = slope.at(0.5)
    trainer.optimizer.lr = trainer.rates.at(0)
    train, validate = _times(trainer)
    epoch = len(training) * train + _validations(trainer) * validate
    epochs = config.training.epochs
    patience = "" if config.training.patience is None else ", or fewer: training.patience may end it"
    say(
        f"a batch      {_duration(train)} to train on, {_duration(validate)} to validate",
        f"an epoch     about {_duration(epoch)}",
        f"{_counted(epochs, 'epoch', 'epochs'):12} about {_duration(epochs * epoch)}{patience}",
        "",
        "nothing was written",
    )


def _times(trainer: Trainer) -> tuple[float, float]:
    """Seconds for a batch of training, and for one of validation."""
    network = trainer.network
    # a GPU's first batch of each kind loads kernels, and its second is recorded; a group of batches has several kinds
    warm = 1 if network.device.streams is None else 2 * trainer.config.training.accumulate
    with network.turns.take():
        network.loss.reset()
        train = _seconds_per_batch(trainer.step, trainer.training, warm, trainer)
        network.loss.reset()
        return train, _seconds_per_batch(trainer.evaluator, trainer.validation, 2, trainer)


def _seconds_per_batch(step: BatchStep, batches: Batches, warm: int, trainer: Trainer) -> float:
    # the device may still be at work when run() has returned
    wait = trainer.network.device.synchronize
    each = _without_end(step, batches)
    for _ in islice(each, warm):
        step.run()
    wait()
    start = time.perf_counter()
    for done, _ in enumerate(each, 1):
        step.run()
        # all ranks take as many steps
        seconds = told(trainer.group, lambda: time.perf_counter() - start)
        if seconds >= SECONDS_AT_MOST or (done >= BATCHES and seconds >= SECONDS_AT_LEAST):
            break
    wait()
    return (time.perf_counter() - start) / done


def _without_end(step: BatchStep, batches: Batches) -> Iterator[int]:
    """The batches of one epoch after the other."""
    for epoch in count():
        yield from step.each(batches, epoch)


def _validations(trainer: Trainer) -> int:
    """How many batches an epoch validates: averaged weights are validated beside the others."""
    return len(trainer.validation) * (1 if trainer.average is None else 2)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _duration(seconds: float) -> str:
    """As people say it: 3.1 ms, 4.2 s, 0:03:10, 2 days, 1:10:00."""
    if seconds < 1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    return str(timedelta(seconds=round(seconds)))
