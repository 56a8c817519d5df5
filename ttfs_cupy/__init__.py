"""ttfs_cupy trains deep spiking neural networks with time-to-first-spike coding, on CuPy and CUDA kernels.

This is all that a script or a notebook needs; what is not named here may change without notice. Most names are
imported once they are used, so that `import ttfs_cupy` is quick and loads neither torch nor CuPy.
"""

from importlib import import_module

from ttfs_cupy.common import checkout
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.version import __version__

checkout.make_importable()

# type checkers take it for true; typing itself is left to what is asked for
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ttfs_cupy import plot
    from ttfs_cupy.data import (
        Batch,
        Batches,
        Corruption,
        Dataset,
        ImageSet,
        MixedLabels,
        Share,
        augmentation,
        corrupted,
        load_dataset,
        mixing,
    )
    from ttfs_cupy.device import Device, get_device
    from ttfs_cupy.energy.counting import count_operations
    from ttfs_cupy.engine.average import WeightAverage
    from ttfs_cupy.engine.network import Network
    from ttfs_cupy.engine.optimizer import Adam, Limits, Optimizer, Sgd
    from ttfs_cupy.engine.steps.evaluation import Evaluation, Evaluator
    from ttfs_cupy.engine.steps.noise import Noise
    from ttfs_cupy.engine.steps.prediction import Predictions, predict
    from ttfs_cupy.engine.steps.training_step import TrainingStep
    from ttfs_cupy.experiment.config import Config, dump_config, load_config
    from ttfs_cupy.experiment.config.schedule import LearningRateSchedule
    from ttfs_cupy.experiment.files.run_directory import RunDirectory
    from ttfs_cupy.experiment.prepare import Experiment, prepare
    from ttfs_cupy.experiment.trainer import Trainer
    from ttfs_cupy.models import build
    from ttfs_cupy.neuron.encoding import Encoder
    from ttfs_cupy.trained.trained_network import Classification, TrainedNetwork, load

# Where each of these names is, as above
_ROOMS = {
    "data": (
        "Batch",
        "Batches",
        "Corruption",
        "Dataset",
        "ImageSet",
        "MixedLabels",
        "Share",
        "augmentation",
        "corrupted",
        "load_dataset",
        "mixing",
    ),
    "device": ("Device", "get_device"),
    "energy.counting": ("count_operations",),
    "engine.average": ("WeightAverage",),
    "engine.network": ("Network",),
    "engine.optimizer": ("Adam", "Limits", "Optimizer", "Sgd"),
    "engine.steps.evaluation": ("Evaluation", "Evaluator"),
    "engine.steps.noise": ("Noise",),
    "engine.steps.prediction": ("Predictions", "predict"),
    "engine.steps.training_step": ("TrainingStep",),
    "experiment.config": ("Config", "dump_config", "load_config"),
    "experiment.prepare": ("Experiment", "prepare"),
    "experiment.files.run_directory": ("RunDirectory",),
    "experiment.config.schedule": ("LearningRateSchedule",),
    "experiment.trainer": ("Trainer",),
    "models": ("build",),
    "neuron.encoding": ("Encoder",),
    "trained.trained_network": ("Classification", "TrainedNetwork", "load"),
}
# rooms that are used as a whole: ttfs_cupy.plot.raster
_WHOLE_ROOMS = ("plot",)
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "Adam",
    "Batch",
    "Batches",
    "Classification",
    "Config",
    "Corruption",
    "Dataset",
    "Device",
    "Encoder",
    "Evaluation",
    "Evaluator",
    "Experiment",
    "ImageSet",
    "LearningRateSchedule",
    "Limits",
    "MixedLabels",
    "Network",
    "Noise",
    "Optimizer",
    "Predictions",
    "RunDirectory",
    "Sgd",
    "Share",
    "TrainedNetwork",
    "Trainer",
    "TrainingStep",
    "UserError",
    "WeightAverage",
    "__version__",
    "augmentation",
    "build",
    "corrupted",
    "count_operations",
    "dump_config",
    "get_device",
    "load",
    "load_config",
    "load_dataset",
    "mixing",
    "plot",
    "predict",
    "prepare",
]


def __getattr__(name: str) -> object:
    if name in _WHOLE_ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOM_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
