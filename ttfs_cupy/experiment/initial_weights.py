"""What a run begins with, where that is not drawn: network.initial_weights, which --init-from names."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange import pytorch_file
from ttfs_cupy.exchange.begin import take_trained, take_weights
from ttfs_cupy.exchange.standardized import plain_weights
from ttfs_cupy.exchange.weight_file import of_arrays
from ttfs_cupy.experiment.files import best_weights, checkpoint
from ttfs_cupy.experiment.files.run_directory import RunDirectory

# what a checkpoint, last.safetensors, holds of the network, beside the optimiser's arrays and an average
_OF_NETWORK = "network."

SAFETENSORS = ".safetensors"


def begin_with(network: Network, source: Path) -> list[str]:
    """Gives the network the weights of a run's directory (its best ones), of a safetensors file or of a PyTorch
    state_dict in a .pt or .pth file.

    Returns lines for the log: what of the file went where. Raises UserError if they cannot be read or do not fit.
    """
    path = file_of(source)
    head, suffix = f"begins with the weights in {path}:", path.suffix.lower()
    if suffix in pytorch_file.SUFFIXES:
        return [head, *take_weights(network, pytorch_file.read(path))]
    # what is not there is told below
    if suffix != SAFETENSORS and os.path.exists(path):  # noqa: PTH110 (Path's raises)
        raise UserError(
            f"weights '{path}' cannot be used: name a run's directory, or a file whose name ends in {SAFETENSORS}, or, "
            f"if torch.save wrote it, in {' or '.join(pytorch_file.SUFFIXES)}"
        )
    arrays, _ = checkpoint.load(path)
    trained, others = parts_of(arrays)
    tail = [f"  not of the network: {listed(map(shown, others), 4)}"] if others else []
    file = of_arrays(path, trained, checkpoint.bfloat16_names(path))
    return [head, *(take_trained(network, file) or take_weights(network, plain_weights(file))), *tail]


def file_of(source: Path) -> Path:
    """The file itself, or a run directory's best weights. Raises UserError for a folder without a run, or whose run has
    none."""
    if not source.is_dir():
        return source
    run = RunDirectory.existing(source)
    best_weights.require(run)
    return run.best


def parts_of(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """A file's weights by the network's names, and the names of what else a checkpoint holds."""
    if not any(name.startswith("optimizer.") for name in arrays):
        return dict(arrays), []
    own = {name.removeprefix(_OF_NETWORK): array for name, array in arrays.items() if name.startswith(_OF_NETWORK)}
    return own, [name for name in arrays if not name.startswith(_OF_NETWORK)]
