"""All that a run goes on from, between the device and a checkpoint's arrays and metadata."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.experiment.files.input_record import CLASS_NAMES
from ttfs_cupy.experiment.files.progress import EpochLength, Progress


class RunState:
    """The weights, the optimiser's state and the average, if there is one.

    about: what each file's metadata say of the network's input (files/input_record.py).
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        average: WeightAverage | None = None,
        about: Mapping[str, Any] = {},
    ):
        self._network, self._optimizer, self._average = network, optimizer, average
        self._about = dict(about)

    def arrays(self) -> dict[str, np.ndarray]:
        """Copies on the host, by name, as a checkpoint has them."""
        found = {"network": self._network.parameters.trained_dict(), "optimizer": self._optimizer.state_dict()}
        if self._average is not None:
            found["average"] = self._average.state_dict()
        return {f"{owner}.{name}": array for owner, arrays in found.items() for name, array in arrays.items()}

    def metadata(self, progress: Progress) -> dict[str, Any]:
        """What a checkpoint says beside its arrays."""
        return {"psp_slope": self._network.psp_slope, "progress": progress.to_metadata(), **self._about}

    def best(self, epoch: int, *, of_average: bool) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays and metadata of best.safetensors: the weights, or their average, after that epoch."""
        metadata: dict[str, Any] = {"psp_slope": self._network.psp_slope, "epoch": epoch, **self._about}
        if self._average is not None:
            metadata["averaged"] = of_average
        with self._average.in_place() if self._average is not None and of_average else nullcontext():
            return self._network.state_dict(), metadata

    def take(
        self, path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any], length: EpochLength
    ) -> Progress:
        """Takes what a checkpoint holds, which was read from `path`; returns where the run stands.

        Raises UserError where it does not belong to the run.
        """
        try:
            progress = Progress.from_metadata(metadata.get("progress"), length)
            self._network.parameters.load_trained(of_network(arrays))
            self._optimizer.load_state_dict(_without_prefix(arrays, "optimizer."))
            self._load_average(_without_prefix(arrays, "average."))
            progress.check_counts(self._optimizer.counts)
            if progress.sums is not None:
                # the trainer does so again: who plans the network anew gets another loss
                self._network.loss.restore(progress.sums)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"'{path}' does not belong to this run's config: {error}") from None
        self._check_classes(metadata.get(CLASS_NAMES))
        return progress

    def _load_average(self, state: dict[str, np.ndarray]) -> None:
        if self._average is None and state:
            raise ValueError("it holds averaged weights, and training.average is null")
        if self._average is not None:
            if not state:
                raise ValueError("it holds no averaged weights, and training.average is set")
            self._average.load_state_dict(state)

    def _check_classes(self, trained: Any) -> None:
        """Raises UserError unless the classes have the names that the run began with, where both are known."""
        names = self._about.get(CLASS_NAMES, trained)
        if trained is not None and names != trained:
            raise UserError(
                f"this run was begun with the classes {shown(trained)}, and the data now have {shown(names)}"
            )


def of_network(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A checkpoint's weights by the network's names."""
    return _without_prefix(arrays, "network.")


def _without_prefix(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
