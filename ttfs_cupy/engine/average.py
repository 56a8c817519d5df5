"""An exponential moving average of the weights, which stays on the device (docs/model.md, "Optimisers")."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.checks import check_kind, is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.engine.optimizer import BELOW_ONE, Optimizer
from ttfs_cupy.engine.parameters import as_array
from ttfs_cupy.engine.turns import Turns, in_turn


class WeightAverage:
    """Follows all weights of a network: after a step that was applied, average += (1 - d) (w - average).

    d is decay, but at most t / (10 + t) after t earlier steps: the average begins with the first step's weights, and is
    one of about the last tenth of the steps until it is as long as decay says. A skipped step leaves it as it is.
    TrainingStep takes it along. Raises UserError for a decay that is not above 0 and below 1.
    """

    def __init__(self, optimizer: Optimizer, decay: float):
        check_kind("optimizer", optimizer, Optimizer)
        if not (is_number(decay) and 0 < decay <= BELOW_ONE):
            raise UserError(f"decay must be a number above 0, up to {BELOW_ONE}, not {shown(decay)}")
        self.decay = float(decay)
        self.optimizer = optimizer
        self._parameters = optimizer.parameters
        with self.turns.take():
            self._values = self._parameters.values.copy()

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """With a copy, for a pickle or a copy, so that it is of one moment."""
        self._parameters.require_own_values()
        return {**self.__dict__, "_values": self._values.copy()}

    def __copy__(self) -> NoReturn:
        raise TypeError("a copy of an average alone has no network: use copy.deepcopy((net, optimizer, average))")

    @property
    def turns(self) -> Turns:
        """Those of the network whose weights it follows."""
        return self._parameters.turns

    @in_turn
    def follow(self) -> None:
        """Takes in the weights of the optimiser's last step, once after each. Launches only."""
        self._parameters.require_own_values()
        size = self._parameters.size
        arrays = (self._values, self._parameters.values, *self.optimizer.decided)
        self.optimizer.device.launch("follow", size, *arrays, 1 - self.decay, size)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights in this block, and bit for bit its own after it.

        Other threads wait. To train, to load weights or to copy inside raises ValueError: the two have changed places.
        """
        with self.turns.take():
            self._parameters.require_own_values()
            # whoever is interrupted in between finds a network that refuses to train, not one that was swapped unseen
            self._parameters.are_displaced = True
            self._exchange()
            try:
                yield
            finally:
                self._exchange()
                self._parameters.are_displaced = False

    @in_turn
    def _exchange(self) -> None:
        size = self._parameters.size
        self.optimizer.device.launch("exchange", size, self._parameters.values, self._values, size)

    @in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """A copy, NumPy, of all that the next step depends on, as the engine holds weights; for their names and shapes
        take the network's state_dict() within in_place()."""
        self._parameters.require_own_values()
        return {"values": self.optimizer.device.to_host(self._values).copy()}

    @in_turn
    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes what state_dict() gave. Raises ValueError, changing nothing, for anything else."""
        self._parameters.require_own_values()
        if not isinstance(state, Mapping) or set(state) != {"values"}:
            raise ValueError("the averaged weights must be given by the one name 'values'")
        device = self.optimizer.device
        given = as_array("the averaged weights", device.to_host, state["values"])
        if given.shape != self._values.shape or given.dtype != np.float32:
            raise ValueError(
                f"the averaged weights must be float32 {self._values.shape}, not {given.dtype} {given.shape}"
            )
        if not np.isfinite(given).all():
            raise ValueError("the averaged weights are not all finite")
        self._values[...] = device.to_device(given)
