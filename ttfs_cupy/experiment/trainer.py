"""The training loop: epochs, validation, early stopping, best weights, checkpoints, and resumption."""

import logging
import math
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import numpy as np

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.shown import counted
from ttfs_cupy.data import Batches, class_weights
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.agreement import require_same_weights
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import best_weights
from ttfs_cupy.experiment.files.elsewhere import NoMetrics
from ttfs_cupy.experiment.files.input_record import recorded
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.progress import EpochLength, Progress
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.files.state import RunState
from ttfs_cupy.experiment.moments import Moments
from ttfs_cupy.experiment.spoilt import Diagnosis
from ttfs_cupy.experiment.unkept import Unkept
from ttfs_cupy.experiment.validation import Validation, validate
from ttfs_cupy.experiment.watching.display import Display
from ttfs_cupy.experiment.watching.epoch_line import BEST, epoch_line
from ttfs_cupy.experiment.watching.epochs import new_warnings
from ttfs_cupy.experiment.watching.loggers import Loggers
from ttfs_cupy.experiment.watching.losses import chance_loss
from ttfs_cupy.experiment.wiring import Wiring
from ttfs_cupy.ranks.pace import Decision, Pace

logger = logging.getLogger("ttfs_cupy")


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
        wiring: Wiring | None = None,
    ):
        """wiring: the processes that train together, of which rank 0 alone keeps the run and tells of it."""
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
        wiring = wiring or Wiring()
        self.group = wiring.group
        smoothing, decay = config.training.label_smoothing, config.training.average
        # of training's batches: no set has larger ones, so that it serves the test set, too
        self._images = training.share.most(training.batch_size)
        weights = class_weights(config.data.class_weights, training.labels, network.classes)
        self.average = None if decay is None else WeightAverage(optimizer, decay)
        self.step = TrainingStep(
            network,
            optimizer,
            self._images,
            accumulate=config.training.accumulate,
            label_smoothing=smoothing,
            class_weights=weights,
            average=self.average,
            all_reduce=wiring.all_reduce,
        )
        self.length = EpochLength(len(training), config.training.accumulate)
        # one voice, and one pen: what ranks above 0 have in place of these says and keeps nothing
        speaks = self.group.rank == 0
        self.loggers = Loggers(config, run) if speaks else Loggers.none(config, run)
        self.display = Display(config.training.epochs, config.watch.log_every if speaks else math.inf)
        self._state = RunState(network, optimizer, self.average, recorded(network, training.images))
        self.checkpoints: Checkpoints | Unkept = (
            Checkpoints(run, self._state, config.training.keep, self.group)
            if speaks
            else Unkept(self._state, self.group)
        )
        self.metrics = MetricsFile(run.metrics) if speaks else NoMetrics(run.metrics)
        counts_times = Loggers.are_wanted(config)
        self.evaluator = Evaluator(network, self._images, spike_times=counts_times, group=self.group)
        self.progress = Progress(ranks=self.group.size)
        self.rates = learning_rates(config, self.length.steps)
        self._chance = chance_loss(
            training.labels,
            network.classes,
            class_weights=weights,
            smoothing=smoothing,
            sampling=config.data.sampling,
        )
        # skipped steps in a row that a resumed run brings along: they were borne
        self._borne = 0
        self.moments = Moments(config.training.checkpoint_every)
        self._has_stepped = False
        self._diagnosis = Diagnosis(config, network, run)
        self._wishes = interruption.Wishes()
        self._pace = Pace(self.group, self._wishes)
        # whether network, optimiser and progress are those of one moment
        self._is_whole = True

    def fit(self) -> None:
        """Trains until the last epoch, or until early stopping.

        Ctrl-C and SIGTERM have it end the step under way, save, and raise KeyboardInterrupt; SIGUSR1 has it save and go
        on. However it ends, the run goes on from its last checkpoint. Raises UserError when the validation loss is no
        longer finite, or after training.max_skipped skipped steps in a row (the weights on disk are then the last good
        ones), where another process writes to the run, and where a file cannot be written.
        """
        with ExitStack() as work:
            work.enter_context(self.run.claimed())
            self._wishes = work.enter_context(interruption.wishes())
            self._pace = Pace(self.group, self._wishes)
            if not self._is_whole and self.run.has_checkpoint:
                # an earlier call was broken off
                self.resume()
            work.enter_context(self.watched())
            self._is_whole = False
            # a plan makes the loss anew, and its sums may be an earlier call's
            self.network.plan(self._images, training=True)
            require_same_weights(self.group, self.progress.described(self.length), self._state.arrays)
            try:
                if not self.progress.step:
                    self.checkpoints.begin(self.progress)
                else:
                    self.checkpoints.go_on(self.progress)
                while self.progress.epochs < self.config.training.epochs and not self._out_of_patience():
                    # other threads wait: what they ask for, or load, is no part of an epoch
                    with self.network.turns.take():
                        self._epoch()
                    self._end_if_asked(self._between_epochs())
                self.checkpoints.finish()
                self._is_whole = True
            finally:
                # nobody else may come in while something is being written
                self.checkpoints.settle()

    def watched(self) -> AbstractContextManager[None]:
        """Has the loggers of the config told of what happens in this block; at the end of the outermost one, `fit` is
        one, they are closed."""
        return self.loggers.at_work(self.progress.epochs)

    def resume(self) -> None:
        """Goes on from the newest checkpoint that is whole. Claims the run: `fit` is to follow."""
        self.run.claim()
        self.progress = self.checkpoints.load(self.length)
        self._borne = self.optimizer.counts.in_a_row
        self._tell_ranks()
        self.metrics = self.metrics.of_epochs(self.run.metrics, self.progress.epochs, self.progress.step)
        if not self.progress.best_epoch:
            # of an epoch that is done anew, or what earlier versions wrote at Ctrl-C: weights that nobody validated
            self.checkpoints.drop_best()

    def _tell_ranks(self) -> None:
        """Where the checkpoint is of another number of ranks; the next one is of these."""
        ran, now = self.progress.ranks, self.group.size
        if ran != now:
            logger.info(
                "goes on on %s; it ran on %s: the batches are the same, and their sums are rounded otherwise",
                *(counted(now, "rank"), counted(ran, "rank")),
            )

    def _epoch(self) -> None:
        totals = self._train()
        seconds = self.progress.seconds
        require_same_weights(self.group, f"after epoch {self.progress.epochs + 1}", self._state.arrays)
        validation = self._validate()
        if not np.isfinite(validation.current.totals.loss):
            # no training loss has seen the weights after the epoch's last step
            raise self._diagnosis.not_finite(self.progress.epochs + 1)
        self._diagnosis.require_finite_weights(self.progress.epochs + 1)
        progress = self.progress
        progress.epochs += 1
        progress.begin_epoch()
        kept = validation.kept
        is_best = self._judge(kept.totals.accuracy)
        best = self.checkpoints.best(progress.epochs, of_average=validation.keeps_average) if is_best else None
        counts = self.optimizer.counts
        write_metrics = self.metrics.append(
            epoch=progress.epochs,
            # JSON knows no NaN
            train_loss=totals.loss if np.isfinite(totals.loss) else None,
            train_accuracy=totals.accuracy,
            validation_loss=kept.totals.loss,
            validation_accuracy=kept.totals.accuracy,
            **validation.by_class(),
            **validation.of_both(),
            firing_rates=kept.firing_rates,
            saturations=kept.saturations,
            **validation.of_current(),
            learning_rate=self.optimizer.lr,
            psp_slope=self.network.psp_slope,
            seconds=seconds,
            images_per_second=len(self.training.members) / seconds,
            skipped_steps=counts.skipped - progress.skipped,
            clipped_steps=counts.clipped - progress.clipped,
        )
        progress.skipped, progress.clipped = counts.skipped, counts.clipped
        warnings = new_warnings(self.metrics.lines, self.config, self._chance)
        told = partial(self._tell_epoch, self.metrics.lines[-1], is_best, warnings)
        self.checkpoints.after_epoch(progress, write_metrics, best, told)
        self.moments.saved()
        if self.loggers.any:
            # where a checkpoint was the epoch's last step, nobody has its gradients any more
            gradients = self.network.parameters.gradient_dict() if self._has_stepped else {}
            self.loggers.epoch(self.metrics.lines[-1], gradients, kept.spike_times or {})

    def _tell_epoch(self, line: dict[str, Any], is_best: bool, warnings: list[str]) -> None:
        """Once it is on disk."""
        logger.info("%s", epoch_line(line, self.config.training.epochs, is_best), extra=BEST)
        for warning in warnings:
            logger.warning("%s", warning)

    def _validate(self) -> Validation:
        """Nothing that is trained changes meanwhile: a signal need not wait for its end."""
        try:
            hooks = self._at_once, self._end_together
            return validate(self.evaluator, self.validation, self.average, *hooks)
        except KeyboardInterrupt:
            # unless it came while the averaged weights were put back
            if not self.network.parameters.are_displaced:
                self._save(is_asked=True)
            self._end()
            raise

    def _train(self) -> Totals:
        """The epoch's batches, from where a checkpoint within it left off."""
        network, progress = self.network, self.progress
        if progress.sums is None:
            network.loss.reset()
        else:
            network.loss.restore(progress.sums_of(self.group.rank, self.group.size))
            # the last step's, which is the epoch's if no batch is left
            self.optimizer.lr = self.rates.at(progress.step - 1)
        # of an epoch that was interrupted
        self.step.drop()
        start, before = time.perf_counter(), progress.seconds
        first = progress.batches
        self._has_stepped = first < len(self.training)
        with self.display.epoch(progress.epochs + 1, len(self.training), first) as shown_epoch:
            for number, _ in enumerate(self.step.each(self.training, progress.epochs, first), first):
                if shown_epoch.wants_reading():
                    # waits for the step before, while this batch is on its way
                    shown_epoch.tell(self._read_totals())
                self.optimizer.lr = self.rates.at(progress.step)
                network.psp_slope = self._slope(progress.step)
                self.step.run()
                if number + 1 == len(self.training):
                    self.step.flush()
                shown_epoch.advance(self.training.size(number))
                if not self.step.has_begun:
                    progress.step += 1
                    progress.batches = number + 1
                    progress.seconds = before + time.perf_counter() - start
                    self._save_if_asked()
        # where the next step would begin; after the last one, where the schedule ends
        network.psp_slope = self._slope(progress.step)
        self._read_totals()
        totals = self._sum_up()
        progress.seconds = before + time.perf_counter() - start
        return totals

    def _save_if_asked(self) -> None:
        """Writes a checkpoint where it is time for one, or a signal asks for it; a signal may also ask to end."""
        self.checkpoints.check()
        progress = self.progress
        decision = self._pace.after_step(due=self.moments.by_clock()) or Decision()
        is_asked = decision.end or decision.save
        # after the epoch's last batch there will be one in any case
        is_time = progress.batches < len(self.training) and (decision.due or self.moments.by_steps(progress.step))
        if is_asked or is_time:
            self._read_totals()
        # while steps are skipped, the weights may be what is wrong: the checkpoint before is the better one
        if is_asked or (is_time and not self.optimizer.counts.in_a_row):
            self._sum_up()
            self._save(is_asked=is_asked)
        self._end_if_asked(decision)

    def _end_if_asked(self, decision: Decision) -> None:
        """Between two steps, when all is saved."""
        if decision.end:
            self._end()
            raise KeyboardInterrupt

    def _between_epochs(self) -> Decision:
        decision = self._pace.decide()
        if decision.save and self.group.size > 1:
            # the next decision point may be an epoch's end, too
            self._save(is_asked=True)
        elif decision.save:
            # it waits for the next step
            self._wishes.to_save = True
        return decision

    def _at_once(self) -> AbstractContextManager[None]:
        """Within it a signal interrupts. With several ranks it waits for `_end_together`."""
        return self._wishes.at_once() if self.group.size == 1 else nullcontext()

    def _end_together(self) -> None:
        """After a batch of a validation: a signal breaks it off, with several ranks at the same batch of all."""
        if self.group.size > 1 and self._pace.after_batch():
            raise KeyboardInterrupt

    def _save(self, *, is_asked: bool) -> None:
        self.checkpoints.within_epoch(self.progress, self.progress.described(self.length), is_asked=is_asked)
        self.moments.saved()

    def _end(self) -> None:
        """Before the run is interrupted: whoever goes on with this object finds it as it was saved."""
        self.checkpoints.finish()
        self._is_whole = True

    def _read_totals(self) -> Totals:
        """Of the epoch's batches whose loss is finite. Raises UserError after too many skipped steps in a row: the
        longest row is asked for, so that it does not matter when."""
        totals, counts = self.network.loss.read_finite(), self.optimizer.counts
        most = self.config.training.max_skipped
        if most is not None and counts.longest_row >= max(most, self._borne + 1):
            raise self._diagnosis.skipped(counts.longest_row, self.progress.epochs + 1)
        return totals

    def _sum_up(self) -> Totals:
        """Has the progress say what the epoch's batches came to, at all ranks; of those whose loss is finite."""
        progress, parts = self.progress, self.group.gather(self.network.loss.sums())
        progress.ranks, progress.parts = self.group.size, parts if len(parts) > 1 else None
        progress.sums = [float(value) for value in np.sum(parts, axis=0)]
        return Totals.of_finite(progress.sums)

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
