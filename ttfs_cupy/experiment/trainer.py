"""The training loop: epochs, validation, early stopping, best weights, and resumption."""

import logging
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from ttfs_cupy.common.checks import check_kind
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.data import Batches, class_weights
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.diagnosis import first_non_finite_layer
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
from ttfs_cupy.experiment.watching.epochs import new_warnings
from ttfs_cupy.experiment.watching.losses import chance_loss

logger = logging.getLogger("ttfs_cupy")

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
        weights = class_weights(config.data.class_weights, training.labels, network.classes)
        self.average = None if decay is None else WeightAverage(optimizer, decay)
        self.step = TrainingStep(
            network,
            optimizer,
            training.batch_size,
            accumulate=config.training.accumulate,
            label_smoothing=smoothing,
            class_weights=weights,
            average=self.average,
        )
        # of the optimiser; an epoch's last one may be of fewer batches
        self.steps_per_epoch = -(-len(training) // config.training.accumulate)
        # of training's batches: no set has larger ones, so that it serves the test set, too
        self.evaluator = Evaluator(network, training.batch_size)
        self.progress = Progress()
        self.rates = learning_rates(config, self.steps_per_epoch)
        self.metrics = MetricsFile(run.metrics)
        self._chance = chance_loss(
            training.labels,
            network.classes,
            class_weights=weights,
            smoothing=smoothing,
            sampling=config.data.sampling,
        )

    def fit(self) -> None:
        """Trains until the last epoch, or until early stopping.

        Wherever it is interrupted, the run goes on from its last whole epoch. Raises UserError when the validation loss
        is no longer finite, or after training.max_skipped skipped steps in a row (the weights on disk are then the last
        good ones), and where another process writes to the run.
        """
        with self.run.claimed():
            if not self.progress.epochs:
                self._save_last()
            while self.progress.epochs < self.config.training.epochs and not self._out_of_patience():
                # other threads wait: what they ask for, or load, is no part of an epoch
                with self.network.turns.take():
                    self._epoch()

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
        self._require_finite_weights()
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
            # JSON knows no NaN
            train_loss=totals.loss if np.isfinite(totals.loss) else None,
            train_accuracy=totals.accuracy,
            validation_loss=kept.totals.loss,
            validation_accuracy=kept.totals.accuracy,
            **validation.by_class(),
            **validation.of_both(),
            firing_rates=kept.firing_rates,
            saturations=kept.saturations,
            learning_rate=self.optimizer.lr,
            psp_slope=self.network.psp_slope,
            seconds=seconds,
            images_per_second=totals.images / seconds,
            skipped_steps=counts.skipped - progress.skipped,
            clipped_steps=counts.clipped - progress.clipped,
        )
        progress.skipped, progress.clipped = counts.skipped, counts.clipped
        self._save_last()
        logger.info("%s", _epoch_line(self.metrics.lines[-1], self.config.training.epochs, is_best))
        for warning in new_warnings(self.metrics.lines, self.config, self._chance):
            logger.warning("%s", warning)

    def _train(self) -> Totals:
        network, progress = self.network, self.progress
        network.loss.reset()
        # of an epoch that was interrupted
        self.step.drop()
        last_reading = time.perf_counter()
        description = f"epoch {progress.epochs + 1}/{self.config.training.epochs}"
        with tqdm(total=len(self.training), desc=description, unit="batch", leave=False, disable=None) as bar:
            for number, _ in enumerate(self.step.each(self.training, progress.epochs)):
                if number and time.perf_counter() - last_reading > SECONDS_BETWEEN_READINGS:
                    # waits for the step before, while this batch is on its way
                    totals = self._read_totals()
                    last_reading = time.perf_counter()
                    bar.set_postfix(loss=f"{totals.loss:.4f}", accuracy=f"{totals.accuracy:.4f}")
                self.optimizer.lr = self.rates.at(progress.step)
                network.psp_slope = self._slope(progress.step)
                self.step.run()
                if number + 1 == len(self.training):
                    self.step.flush()
                progress.step += not self.step.has_begun
                bar.update()
        # where the next step would begin; after the last one, where the schedule ends
        network.psp_slope = self._slope(progress.step)
        return self._read_totals()

    def _read_totals(self) -> Totals:
        """Of the epoch's batches whose loss is finite. Raises UserError after too many skipped steps in a row: the
        longest row is asked for, so that it does not matter when."""
        totals, counts = self.network.loss.read_finite(), self.optimizer.counts
        most = self.config.training.max_skipped
        if most is not None and counts.longest_row >= most:
            raise self._spoilt(f"{counts.longest_row} steps in a row were skipped", self._overflowing_layer())
        return totals

    def _not_finite(self) -> UserError:
        return self._spoilt("the loss is no longer finite", self._overflowing_layer() or self.network.layers[-1].name)

    def _overflowing_layer(self) -> str | None:
        assert self.network.last_inputs is not None
        return first_non_finite_layer(self.network, self.network.last_inputs)

    def _spoilt(self, what: str, layer: str | None) -> UserError:
        """The weights at hand are of no use: last.safetensors stays as it is."""
        change = "set" if self.config.optimizer.clip_norm is None else "lower"
        overflow = "their gradients overflow" if layer is None else f"the potentials of layer {layer} overflow"
        return UserError(
            f"{what} in epoch {self.progress.epochs + 1}: {overflow}; the weights before that epoch are in "
            f"{self.run.last}; try a lower optimizer.lr or {change} optimizer.clip_norm"
        )

    def _require_finite_weights(self) -> None:
        """Before they are written. An infinite weight of a neuron that fires all the same shows in no loss."""
        parameters, to_host = self.network.parameters, self.network.device.to_host
        if not all(np.isfinite(to_host(array)).all() for array in (parameters.trained, parameters.values)):
            raise self._spoilt("the weights are no longer finite", self._overflowing_layer())

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
    loss = "not finite" if line["train_loss"] is None else f"{line['train_loss']:.4f}"
    return (
        f"epoch {line['epoch']}/{epochs}: loss {loss}, "
        f"training {100 * line['train_accuracy']:.2f} %, "
        f"{validated}, firing rates {rates}, {line['images_per_second']:.0f} images/s"
    )


def _percent(share: float | None) -> str:
    return "not finite" if share is None else f"{100 * share:.2f} %"
