"""The loggers of a run: begun, told and closed together; none of them is worth a run."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np

from ttfs_cupy.common.files.writing import make_folder
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.config.keys import WatchConfig
from ttfs_cupy.experiment.files.run_directory import DISPENSABLE, RunDirectory
from ttfs_cupy.experiment.watching.loggers import mlflow_store, tensorboard_files, values, weights_and_biases
from ttfs_cupy.experiment.watching.loggers.identities import Identities
from ttfs_cupy.experiment.watching.loggers.interface import EpochReport, Logger, RunReport

logger = logging.getLogger("ttfs_cupy")


def require(config: Config) -> None:
    """Raises UserError, which says what to install, where a logger that the config names is missing."""
    if config.watch.tensorboard:
        tensorboard_files.require()
    if "wandb" in config.watch.loggers:
        weights_and_biases.require()
    if "mlflow" in config.watch.loggers:
        mlflow_store.require()


class Loggers:
    """Those that a run's config names. One that fails is warned of, closed, and told no more: the run goes on.

    Raises UserError as `require` does.
    """

    def __init__(self, config: Config, run: RunDirectory):
        self._config, self._run = config, run
        self._test: dict[str, float] | None = None
        self._is_at_work = False
        identities = Identities(run.loggers / "identities.json")
        self._loggers: dict[str, Logger] = {}
        if config.watch.tensorboard:
            self._loggers["TensorBoard"] = tensorboard_files.TensorBoardFiles(run.loggers)
        if "wandb" in config.watch.loggers:
            self._loggers["wandb"] = weights_and_biases.WeightsAndBiases(run.loggers, identities)
        if "mlflow" in config.watch.loggers:
            self._loggers["MLflow"] = mlflow_store.MlflowStore(run.loggers / "mlflow.db", identities)

    @classmethod
    def none(cls, config: Config, run: RunDirectory) -> "Loggers":
        """Of a rank whose run others tell of."""
        return cls(config.model_copy(update={"watch": WatchConfig()}), run)

    @staticmethod
    def are_wanted(config: Config) -> bool:
        """Whether the config names any."""
        return config.watch.tensorboard or bool(config.watch.loggers)

    @property
    def any(self) -> bool:
        """Whether anybody is told."""
        return bool(self._loggers)

    @contextmanager
    def at_work(self, epochs: int) -> Iterator[None]:
        """Begins with a run of which so many epochs are done, and closes at the end of the outermost such block, on
        every way out."""
        if self._is_at_work:
            yield
            return
        report = RunReport(self._run.path.absolute().name, self._config.model_dump(by_alias=True), epochs)
        self._is_at_work, self._test = True, None
        with ExitStack() as ends:
            # each of them, also where a warning about another one finds the console gone
            for name in self._loggers:
                ends.callback(self._end, name)
            ends.callback(setattr, self, "_is_at_work", False)
            self._each(lambda one: self._begin(one, report))
            yield

    def _begin(self, one: Logger, report: RunReport) -> None:
        make_folder(self._run.loggers)
        one.begin(report)

    def epoch(
        self, line: Mapping[str, Any], gradients: Mapping[str, np.ndarray], spike_times: Mapping[str, np.ndarray]
    ) -> None:
        """Tells of an epoch that is done.

        line: its line of metrics.jsonl. gradients: those of its last step, by parameter.
        spike_times: by layer, over the validation images.
        """
        told = values.of_epoch(line, values.norms_by_layer(gradients))
        report = EpochReport(line["epoch"], told, spike_times, self._config.network.t_win)
        self._each(lambda one: one.epoch(report))

    def tested(self, line: Mapping[str, Any]) -> None:
        """Keeps the test set's line of metrics.jsonl, with which the loggers end."""
        self._test = values.of_test(line)

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for name, one in list(self._loggers.items()):
            try:
                tell(one)
            except Exception as error:  # whatever a library raises
                del self._loggers[name]
                with suppress(Exception):
                    one.end(None)
                _warn("warning: %s fails (%s): the run goes on without it", name, error)

    def _end(self, name: str) -> None:
        one = self._loggers.get(name)
        try:
            if one is not None:
                one.end(self._test)
        except Exception as error:
            _warn("warning: %s fails (%s) as it is closed", name, error)


def _warn(sentence: str, name: str, error: Exception) -> None:
    # on a disk that is full the log cannot be written either
    logger.warning(sentence, name, message_of(error), extra=DISPENSABLE)
