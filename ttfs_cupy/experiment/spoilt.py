"""A training that has come to nothing: which layer it was, and what is left."""

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.diagnosis import first_non_finite_layer
from ttfs_cupy.engine.network import Network
from ttfs_cupy.experiment.config import Config
from ttfs_cupy.experiment.files.run_directory import RunDirectory


class Diagnosis:
    """Of the network of a run, whose weights are of no use any more: last.safetensors stays as it is."""

    def __init__(self, config: Config, network: Network, run: RunDirectory):
        self._config, self._network, self._run = config, network, run

    def skipped(self, steps: int, epoch: int) -> UserError:
        """After so many skipped steps in a row."""
        return self._error(f"{steps} steps in a row were skipped", epoch, self._overflowing_layer())

    def not_finite(self, epoch: int) -> UserError:
        """Of the loss of the weights that the epoch ended with."""
        layer = self._overflowing_layer() or self._network.layers[-1].name
        return self._error("the loss is no longer finite", epoch, layer)

    def require_finite_weights(self, epoch: int) -> None:
        """Raises UserError before others are written. An infinite one of a neuron that fires all the same shows in no
        loss."""
        parameters, isfinite = self._network.parameters, self._network.device.xp.isfinite
        arrays = [parameters.trained, parameters.values] if parameters.is_standardized else [parameters.values]
        if not all(bool(isfinite(array).all()) for array in arrays):
            raise self._error("the weights are no longer finite", epoch, self._overflowing_layer())

    def _overflowing_layer(self) -> str | None:
        inputs = self._network.last_inputs
        return None if inputs is None else first_non_finite_layer(self._network, inputs)

    def _error(self, what: str, epoch: int, layer: str | None) -> UserError:
        change = "set" if self._config.optimizer.clip_norm is None else "lower"
        overflow = "their gradients overflow" if layer is None else f"the potentials of layer {layer} overflow"
        return UserError(
            f"{what} in epoch {epoch}: {overflow}; the last good weights are in {self._run.last}; "
            f"try a lower optimizer.lr or {change} optimizer.clip_norm"
        )
