"""The training loop: epochs, validation, early stopping, best weights, and resumption."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.data import Batches, class_weights
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.diagnosis import first_non_finite_layer, silent_layers
from ttfs_cupy.engine.loss import Totals
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
from ttfs_cupy.experiment.config.values import PspSlopeSchedule
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.metrics import MetricsFile
from ttfs_cupy.experiment.files.progress import Progress
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.validation import validate
from ttfs_cupy.experiment.watching.display import Display
from ttfs_cupy.experiment.watching.loggers import Loggers
from ttfs_cupy.experiment.watching.silence import silence

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
        # of the optimiser; an epoch's last one may be of fewer batches
        self.steps_per_epoch = -(-len(training) // config.training.accumulate)
        self.loggers = Loggers(config, run)
        self.display = Display(config.training.epochs, config.watch.log_every)
        # of training's batches: no set has larger ones, so that it serves the test set, too
        self.evaluator = Evaluator(network, training.batch_size, spike_times=self.loggers.any)
        self.progress = Progress()
        self.rates = learning_rates(config, self.steps_per_epoch)
        self.metrics = MetricsFile(run.metrics)
        self._told_silent: set[str] = set()

    def fit(self) -> None:
        """Trains until the last epoch, or until early stopping.

        Wherever it is interrupted, the run goes on from its last whole epoch. Raises UserError when the loss is no
        longer finite (the weights on disk are then the last good ones), and where another process writes to the run.
        """
        with self.run.claimed(), self.watched():
            if not self.progress.epochs:
                self._save_last()
            while self.progress.epochs < self.config.training.epochs and not self._out_of_patience():
                # other threads wait: what they ask for, or load, is no part of an epoch
                with self.network.turns.take():
                    self._epoch()

    def watched(self) -> AbstractContextManager[None]:
        """Has the loggers of the config told of what happens in this block; at the end of the outermost one, `fit` is
        one, they are closed."""
        return self.loggers.at_work(self.progress.epochs)

    def resume(self) -> None:
        """Goes on where last.safetensors ends. Claims the run: `fit` is to follow."""
        self.run.claim()
        arrays, metadata = checkpoint.load(self.run.last)
        try:
            self.progress = Progress.from_metadata(metadata.get("progress"), self.steps_per_epoch)
            self.network.parameters.load_trained(_without_prefix(arrays, "network."))
            self.optimizer.load_state_dict(_without_prefix(arrays, "optimizer."))
            self._load_average(_without_prefix(arrays, "average."))
            self.progress.check_counts(self.optimizer.counts)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"'{self.run.last}' does not belong to this run's config: {error}") from None
        self._check_classes(metadata.get("class_names"))
        self.metrics = MetricsFile.of_epochs(self.run.metrics, self.progress.epochs)
        if not self.progress.best_epoch:
            # of an epoch that is done anew, or what earlier versions wrote at Ctrl-C: weights that nobody validated
            self.run.best.unlink(missing_ok=True)

    def _check_classes(self, trained: Any) -> None:
        """Raises UserError unless the classes have the names that the run began with, where both are known."""
        names = self._of_classes().get("class_names", trained)
        if trained is not None and names != trained:
            raise UserError(
                f"this run was begun with the classes {shown(trained)}, and the data now have {shown(names)}"
            )

    def _of_classes(self) -> dict[str, Any]:
        """What the files of weights say of them."""
        names = self.training.images.class_names
        return {} if names is None else {"class_names": list(names)}

    def _load_average(self, state: dict[str, np.ndarray]) -> None:
        if self.average is None and state:
            raise ValueError("it holds averaged weights, and training.average is null")
        if self.average is not None:
            if not state:
                raise ValueError("it holds no averaged weights, and training.average is set")
            self.average.load_state_dict(state)

    def _epoch(self) -> None:
        start = time.perf_counter()
        totals = self._train()
        seconds = time.perf_counter() - start
        validation = validate(self.evaluator, self.validation, self.average)
        if not np.isfinite(validation.current.totals.loss):
            # no training loss has seen the weights after the epoch's last step
            raise self._not_finite()
        progress = self.progress
        progress.epochs += 1
        kept = validation.kept
        is_best = self._judge(kept.totals.accuracy)
        if is_best:
            # first: where it cannot be written, the epoch has not been, and nothing says that it was
            self._save_best(validation.keeps_average)
        counts = self.optimizer.counts
        self.metrics.add(
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
        self._save_last()
        if self.loggers.any:
            gradients = self.network.parameters.gradient_dict()
            self.loggers.epoch(self.metrics.lines[-1], gradients, kept.spike_times or {})
        logger.info("%s", _epoch_line(self.metrics.lines[-1], self.config.training.epochs, is_best))
        self._warn_of_silence(kept.firing_rates)

    def _warn_of_silence(self, firing_rates: dict[str, float]) -> None:
        """Once for each layer."""
        silent = [name for name in silent_layers(firing_rates) if name not in self._told_silent]
        if silent:
            logger.warning("%s", silence(silent, "validation", self.config))
            self._told_silent.update(silent)

    def _train(self) -> Totals:
        network, progress = self.network, self.progress
        network.loss.reset()
        # of an epoch that was interrupted
        self.step.drop()
        with self.display.epoch(progress.epochs + 1, len(self.training)) as shown_epoch:
            for number, images in enumerate(self.step.each(self.training, progress.epochs)):
                if shown_epoch.wants_reading():
                    # waits for the step before, while this batch is on its way
                    shown_epoch.tell(self._finite_totals())
                self.optimizer.lr = self.rates.at(progress.step)
                network.psp_slope = self._slope(progress.step)
                self.step.run()
                if number + 1 == len(self.training):
                    self.step.flush()
                progress.step += not self.step.has_begun
                shown_epoch.advance(images)
        # where the next step would begin; after the last one, where the schedule ends
        network.psp_slope = self._slope(progress.step)
        return self._finite_totals()

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
            return slope.at(step / (self.config.training.epochs * self.steps_per_epoch))
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

    def _save_best(self, of_average: bool) -> None:
        metadata: dict[str, Any] = {"psp_slope": self.network.psp_slope, "epoch": self.progress.epochs}
        metadata |= self._of_classes()
        if self.average is not None:
            metadata["averaged"] = of_average
        with self.average.in_place() if self.average is not None and of_average else nullcontext():
            arrays = self.network.state_dict()
        checkpoint.save(self.run.best, arrays, metadata)

    def _save_last(self) -> None:
        arrays = {f"network.{name}": array for name, array in self.network.parameters.trained_dict().items()}
        arrays |= {f"optimizer.{name}": array for name, array in self.optimizer.state_dict().items()}
        if self.average is not None:
            arrays |= {f"average.{name}": array for name, array in self.average.state_dict().items()}
        metadata = {"psp_slope": self.network.psp_slope, "progress": asdict(replace(self.progress))}
        metadata |= self._of_classes()
        checkpoint.save(self.run.last, arrays, metadata)


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


def _without_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


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
