"""Runs of a study, which stay on the disk: what is there is not trained again, and what was interrupted goes on."""

from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import dump_config
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.prepare import Experiment
from ttfs_cupy.experiment.trainer import Trainer


def directory(path: Path, experiment: Experiment, option: str) -> RunDirectory:
    """That of a run, new or as it was left. option: names another folder. Raises UserError if it holds another run."""
    text = dump_config(experiment.config)
    run = RunDirectory(path)
    if not run.last.exists():
        run.discard()
        return RunDirectory.create(path, text)
    if run.config.read_text() != text:
        raise UserError(f"the run in '{path}' has another config: name another folder with {option}")
    return run


def train(experiment: Experiment, run: RunDirectory) -> Trainer:
    """Trains to the end, from where the run's files leave off; of a run that is complete nothing is left to do."""
    sets = (experiment.training, experiment.validation)
    trainer = Trainer(experiment.config, experiment.network, experiment.optimizer(), *sets, run)
    if run.last.exists():
        trainer.resume()
    trainer.fit()
    return trainer
