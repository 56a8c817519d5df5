"""MLflow: a database in the run's directory, unless MLFLOW_TRACKING_URI names another place."""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ttfs_cupy.common.packages import imported
from ttfs_cupy.common.shown import shortened
from ttfs_cupy.experiment.watching.loggers.identities import Identities
from ttfs_cupy.experiment.watching.loggers.interface import EpochReport, RunReport

logger = logging.getLogger("ttfs_cupy")

INSTALL = "pip install 'ttfs-cupy[mlflow]'"
EXPERIMENT = "ttfs_cupy"
# characters of a value of the config: what MLflow's servers of any age take
LONGEST = 250


def require() -> None:
    """Raises UserError where MLflow, or what its databases need, is not installed."""
    # nobody is told what our users do unless they want it
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for module in ("mlflow", "sqlalchemy", "alembic"):
        imported(module, "MLflow" if module == "mlflow" else f"{module}, which MLflow needs,", INSTALL)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


class MlflowStore:
    """A run that goes on has the identity that it began with. Histograms it does not know."""

    def __init__(self, database: Path, identities: Identities):
        require()
        self._database, self._identities = database, identities
        self._client: Any = None
        self._run = ""
        self._told = self._epochs = 0

    def begin(self, run: RunReport) -> None:
        import mlflow
        from mlflow.entities import Param

        address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self._database.absolute()}"
        client = mlflow.MlflowClient(tracking_uri=address)

        params = {key: shortened(str(value), LONGEST) for key, value in _flat(run.config)}

        def made() -> str:
            made = str(client.create_run(_experiment(client), run_name=run.name).info.run_id)
            # before the identity is kept: a run has its parameters, or is no run
            client.log_batch(made, params=[Param(key, value) for key, value in params.items()])
            return made

        is_new = not self._identities.has("mlflow")
        self._run = self._identities.of("mlflow", made)
        self._client, self._epochs = client, run.epochs
        if not is_new:
            client.update_run(self._run, status="RUNNING")
            begun_with = client.get_run(self._run).data.params
            for key, value in params.items():
                if begun_with.get(key) != value:
                    # a parameter cannot change
                    client.set_tag(self._run, f"now.{key}", value)
            history = client.get_metric_history(self._run, "loss/training")
            self._told = max((metric.step for metric in history), default=0)
        logger.info("MLflow has the run %s in %s", self._run, address)

    def epoch(self, epoch: EpochReport) -> None:
        self._epochs = epoch.number
        # it would show both, where an epoch that was told is done anew
        if epoch.number > self._told:
            self._tell(epoch.values, epoch.number)

    def end(self, test: Mapping[str, float] | None) -> None:
        if self._client is None:
            return
        # of a run that had ended before, and has now done so again
        known = self._client.get_run(self._run).data.metrics
        if test is not None and any(known.get(name) != value for name, value in test.items()):
            self._tell(test, self._epochs + 1)
        self._client.set_terminated(self._run, "KILLED" if test is None else "FINISHED")

    def _tell(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._run, metrics=metrics)


def _experiment(client: Any) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT))


def _flat(config: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}{key}.")
        else:
            yield f"{name}{key}", value
