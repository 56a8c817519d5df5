"""The training loop: epochs, validation, early stopping, best weights, checkpoints, and resumption."""

import logging
import time
from typing import Any

import numpy as np
from tqdm import tqdm

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, class_weights
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.diagnosis import first_non_finite_layer, silent_layers
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import best_weights
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.progress import EpochLength, Progress
from ttfs_cupy.experiment.files.run_directory import DISPENSABLE, RunDirectory
from ttfs_cupy.experiment.moments import Moments
from ttfs_cupy.experiment.validation import Validation, validate
from ttfs_cupy.experiment.watching.silence import silence

logger = logging.getLogger("ttfs_cupy")

# of an epoch's line, what stands out on a terminal
BEST = {"bold": "(best)"}

# Reading the loss makes the host wait for the device, so it is read for the bar's sake only this often.
SECONDS_BETWEEN_READINGS = 0.25


class Trainer:
    """Trains a network as its config says, into a run directory."""

    def __init__(
        self,
        config: Config,
        network: Network,
        optimizer: Optimizer,
        training: Batches,
        validation: Batches,
        run: RunDirectory,
    ):
        check_kind("config", config, Config)
        check_kind("network", network, Network)
        check_kind("run", run, RunDirectory)
        for name, batches in (("training", training), ("validation", validation)):
            check_kind(name, batches, Batches)
            network.validity.check_batches(batches, name)
        self.config = config
        self.network = network
        self.optimizer = optimizer
        self.training = training
        self.validation = validation
        self.run = run
        smoothing, decay = config.training.label_smoothing, config.training.average
        self.average = None if decay is None else WeightAverage(optimizer, decay)
        self.step = TrainingStep(
            network,
            optimizer,
            training.batch_size,
            accumulate=config.training.accumulate,
            label_smoothing=smoothing,
            class_weights=class_weights(config.data.class_weights, training.labels, network.classes),
            average=self.average,
        )
        self.length = EpochLength(len(training), config.training.accumulate)
        # of training's batches: no set has larger ones, so that it serves the test set, too
        self.evaluator = Evaluator(network, training.batch_size)
        self.progress = Progress()
        self.rates = learning_rates(config, self.length.steps)
        self.metrics = MetricsFile(run.metrics)
        names, keep = training.images.class_names, config.training.keep
        self.checkpoints = Checkpoints(run, network, optimizer, self.average, names, keep)
        self.moments = Moments(config.training.checkpoint_every)
        self._told_silent: set[str] = set()
        self._wishes = interruption.Wishes()

    def fit(self) -> None:
        """Trains until the last epoch, or until early stopping.

        Ctrl-C and SIGTERM have it end the step under way, save, and raise KeyboardInterrupt; SIGUSR1 has it save and go
        on. However it ends, the run goes on from its last checkpoint. Raises UserError when the loss is no longer
        finite (the weights on disk are then the last good ones), where another process writes to the run, and where a
        file cannot be written.
        """
        with self.run.claimed(), interruption.wishes() as self._wishes:
            try:
                if not self.progress.step:
                    self.checkpoints.begin(self.progress)
                else:
                    self.checkpoints.go_on(self.progress)
                while self.progress.epochs < self.config.training.epochs and not self._out_of_patience():
                    # other threads wait: what they ask for, or load, is no part of an epoch
                    with self.network.turns.take():
                        self._epoch()
                self.checkpoints.finish()
            finally:
                # nobody else may come in while something is being written
                self.checkpoints.settle()

    def resume(self) -> None:
        """Goes on from the newest checkpoint that is whole. Claims the run: `fit` is to follow."""
        self.run.claim()
        self.progress = self.checkpoints.load(self.length)
        self.metrics = MetricsFile.of_epochs(self.run.metrics, self.progress.epochs)
        if not self.progress.best_epoch:
            # of an epoch that is done anew, or what earlier versions wrote at Ctrl-C: weights that nobody validated
            self.run.best.unlink(missing_ok=True)

    def _epoch(self) -> None:
        totals = self._train()
        seconds = self.progress.seconds
        validation = self._validate()
        if not np.isfinite(validation.current.totals.loss):
            # no training loss has seen the weights after the epoch's last step
            raise self._not_finite()
        progress = self.progress
        progress.epochs += 1
        progress.begin_epoch()
        kept = validation.kept
        is_best = self._judge(kept.totals.accuracy)
        best = self.checkpoints.best(progress.epochs, of_average=validation.keeps_average) if is_best else None
        counts = self.optimizer.counts
        write_metrics = self.metrics.append(
            epoch=progress.epochs,
            train_loss=totals.loss,
            train_accuracy=totals.accuracy,
            validation_loss=kept.totals.loss,
            validation_accuracy=kept.totals.accuracy,
            **validation.by_class(),
            **validation.of_both(),
            firing_rates=kept.firing_rates,
            learning_rate=self.optimizer.lr,
            psp_slope=self.network.psp_slope,
            seconds=seconds,
            images_per_second=totals.images / seconds,
            skipped_steps=counts.skipped - progress.skipped,
            clipped_steps=counts.clipped - progress.clipped,
        )
        progress.skipped, progress.clipped = counts.skipped, counts.clipped
        self.checkpoints.after_epoch(progress, write_metrics, best)
        self.moments.saved()
        logger.info("%s", _epoch_line(self.metrics.lines[-1], self.config.training.epochs, is_best), extra=BEST)
        self._warn_of_silence(kept.firing_rates)

    def _validate(self) -> Validation:
        """Nothing that is trained changes meanwhile: a signal need not wait for its end."""
        try:
            with self._wishes.at_once():
                return validate(self.evaluator, self.validation, self.average)
        except KeyboardInterrupt:
            self._save(is_asked=True)
            self.checkpoints.finish()
            raise

    def _warn_of_silence(self, firing_rates: dict[str, float]) -> None:
        """Once for each layer."""
        silent = [name for name in silent_layers(firing_rates) if name not in self._told_silent]
        if silent:
            logger.warning("%s", silence(silent, "validation", self.config))
            self._told_silent.update(silent)

    def _train(self) -> Totals:
        """The epoch's batches, from where a checkpoint within it left off."""
        network, progress = self.network, self.progress
        if not progress.batches:
            network.loss.reset()
        else:
            # the last step's, which is the epoch's if no batch is left
            self.optimizer.lr = self.rates.at(progress.step - 1)
        # of an epoch that was interrupted
        self.step.drop()
        start, before = time.perf_counter(), progress.seconds
        last_reading = start
        description = f"epoch {progress.epochs + 1}/{self.config.training.epochs}"
        first = progress.batches
        with tqdm(
            total=len(self.training), initial=first, desc=description, unit="batch", leave=False, disable=None
        ) as bar:
            for number, _ in enumerate(self.step.each(self.training, progress.epochs, first), first):
                if number > first and time.perf_counter() - last_reading > SECONDS_BETWEEN_READINGS:
                    # waits for the step before, while this batch is on its way
                    totals = self._finite_totals()
                    last_reading = time.perf_counter()
                    bar.set_postfix(loss=f"{totals.loss:.4f}", accuracy=f"{totals.accuracy:.4f}")
                self.optimizer.lr = self.rates.at(progress.step)
                network.psp_slope = self._slope(progress.step)
                self.step.run()
                if number + 1 == len(self.training):
                    self.step.flush()
                bar.update()
                if not self.step.has_begun:
                    progress.step += 1
                    progress.batches = number + 1
                    progress.seconds = before + time.perf_counter() - start
                    self._save_if_asked()
        # where the next step would begin; after the last one, where the schedule ends
        network.psp_slope = self._slope(progress.step)
        totals = self._finite_totals()
        progress.sums = network.loss.sums()
        progress.seconds = before + time.perf_counter() - start
        return totals

    def _save_if_asked(self) -> None:
        """Writes a checkpoint where it is time for one, or a signal asks for it; a signal may also ask to end."""
        wishes, progress = self._wishes, self.progress
        is_asked = wishes.to_end or wishes.to_save
        # after the epoch's last batch there will be one in any case
        is_time = self.moments.has_come(progress.step) and progress.batches < len(self.training)
        if is_asked or is_time:
            wishes.to_save = False
            self._finite_totals()
            progress.sums = self.network.loss.sums()
            self._save(is_asked=is_asked)
        if wishes.to_end:
            self.checkpoints.finish()
            raise KeyboardInterrupt

    def _save(self, *, is_asked: bool) -> None:
        self.checkpoints.within_epoch(self.progress)
        self.moments.saved()
        level = logging.INFO if is_asked else logging.DEBUG
        logger.log(level, "saved: %s", self.progress.described(self.length), extra=DISPENSABLE)

    def _finite_totals(self) -> Totals:
        totals = self.network.loss.read()
        if not np.isfinite(totals.loss):
            raise self._not_finite()
        return totals

    def _not_finite(self) -> UserError:
        """The weights at hand are spoilt: last.safetensors stays as the epoch before left it."""
        assert self.network.last_inputs is not None
        change = "set" if self.config.optimizer.clip_norm is None else "lower"
        layer = first_non_finite_layer(self.network, self.network.last_inputs)
        return UserError(
            f"the loss is no longer finite in epoch {self.progress.epochs + 1}: the potentials of layer "
            f"{layer} overflow; the weights before that epoch are in "
            f"{self.run.last}; try a lower optimizer.lr or {change} optimizer.clip_norm"
        )

    def _slope(self, step: int) -> float:
        slope = self.config.network.psp_slope
        if isinstance(slope, PspSlopeSchedule):
            return slope.at(step / (self.config.training.epochs * self.length.steps))
        return slope

    def _judge(self, accuracy: float) -> bool:
        """Whether these weights are the best so far; of equally accurate ones the last are, which were trained for
        longer, at a lower rate. The patience is with epochs that are not better.

        While psp_slope still moves, their accuracy counts for neither.
        """
        progress = self.progress
        if progress.epochs < best_weights.first_epoch(self.config):
            return False
        is_better = accuracy > progress.best_accuracy
        progress.epochs_without_improvement = 0 if is_better else progress.epochs_without_improvement + 1
        if accuracy < progress.best_accuracy:
            return False
        progress.best_accuracy, progress.best_epoch = accuracy, progress.epochs
        return True

    def _out_of_patience(self) -> bool:
        patience = self.config.training.patience
        return patience is not None and self.progress.epochs_without_improvement >= patience


def learning_rates(config: Config, steps_per_epoch: int) -> LearningRateSchedule:
    schedule = config.schedule
    return LearningRateSchedule(
        config.optimizer.lr,
        steps_per_epoch,
        config.training.epochs,
        schedule.name,
        schedule.annealing,
        tuple(schedule.milestones),
        schedule.factor,
        schedule.warmup,
        schedule.rise,
        schedule.start_factor,
        schedule.end_factor,
    )


def _epoch_line(line: dict[str, Any], epochs: int, is_best: bool) -> str:
    rates = " ".join(f"{rate:.2f}" for rate in line["firing_rates"].values())
    best = " (best)" if is_best else ""
    validated = f"validation {100 * line['validation_accuracy']:.2f} %{best}"
    if "averaged" in line:
        current, average = (_percent(line[f"{of}_validation_accuracy"]) for of in ("current", "average"))
        bests = ("", best) if line["averaged"] else (best, "")
        validated = f"validation {current}{bests[0]}, averaged {average}{bests[1]}"
    return (
        f"epoch {line['epoch']}/{epochs}: loss {line['train_loss']:.4f}, "
        f"training {100 * line['train_accuracy']:.2f} %, "
        f"{validated}, firing rates {rates}, {line['images_per_second']:.0f} images/s"
    )


def _percent(share: float | None) -> str:
    return "not finite" if share is None else f"{100 * share:.2f} %"
