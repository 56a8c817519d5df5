"""A run's weights, taken by a network: the best ones, a kept epoch's, or those of any safetensors file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ttfs_cupy.common.checks import check_count, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed
from ttfs_cupy.engine.network import Network
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.files.input_record import read_class_names
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.initial_weights import parts_of

Load = Callable[[Path], tuple[dict[str, np.ndarray], dict[str, Any]]]


class RunWeights(NamedTuple):
    """Which ones a run's file has: those after that epoch, or their average then. class_names: of the data that it was
    trained on; None where the file does not say."""

    epoch: int
    are_averaged: bool
    class_names: tuple[str, ...] | None


def load_best(network: Network, path: Path, load: Load = checkpoint.load) -> RunWeights:
    """Takes weights and psp_slope of a run's best.safetensors. load: reads it. Raises UserError if unfit."""
    metadata = load_weights(network, path, load)
    return _of_run(network, path, metadata, metadata.get("epoch"))


def load_kept(network: Network, run: RunDirectory, epoch: int) -> RunWeights:
    """Takes weights, not averaged, and psp_slope of the checkpoint that a run kept after that epoch.

    Raises UserError if there is none, or it is unfit.
    """
    path = kept_path(run, epoch)
    arrays, metadata = checkpoint.load(path)
    own, _ = parts_of(arrays)
    try:
        network.parameters.load_trained(own)
    except ValueError as error:
        raise UserError(f"the weights in '{path}' do not fit: {error}") from None
    return _of_run(network, path, metadata, epoch)


def kept_path(run: RunDirectory, epoch: int) -> Path:
    """The checkpoint that a run kept after that epoch. Raises UserError if there is none."""
    kept = run.kept_epochs
    if epoch not in kept:
        there = f"there are {listed(map(str, kept), 20)}" if kept else "training.keep asked for none"
        raise UserError(f"'{run.path}' keeps no checkpoint of epoch {epoch}: {there}")
    return run.kept(epoch)


def _of_run(network: Network, path: Path, metadata: Mapping[str, Any], epoch: Any) -> RunWeights:
    """Takes psp_slope, and reads the rest."""
    try:
        slope = check_number("psp_slope", metadata.get("psp_slope"), 0, 1)
        epoch = check_count("epoch", epoch, least=0)
    except UserError as error:
        raise UserError(f"'{path}' is not the file that ttfs-train wrote: its {error}") from None
    network.psp_slope = slope
    return RunWeights(epoch, metadata.get("averaged") is True, read_class_names(metadata))


def load_weights(network: Network, path: Path, load: Load = checkpoint.load) -> dict[str, Any]:
    """Takes the weights of a safetensors file; returns its metadata. Raises UserError if they do not fit."""
    arrays, metadata = load(path)
    checkpoint.check_floats(path, arrays)
    try:
        network.load_state_dict({name: np.asarray(array) for name, array in arrays.items()})
    except ValueError as error:
        raise UserError(f"the weights in '{path}' do not fit: {error}") from None
    return metadata
