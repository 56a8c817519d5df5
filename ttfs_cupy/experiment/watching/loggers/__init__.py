"""Where else a run's numbers go: TensorBoard's event files, Weights & Biases, MLflow."""

from ttfs_cupy.experiment.watching.loggers.all_of_a_run import Loggers, require

__all__ = ["Loggers", "require"]
