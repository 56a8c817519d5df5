"""Adam and SGD over all weights at once (docs/model.md, "Optimisers"); their state and decisions stay on the device."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.device import Array, Device, reductions
from ttfs_cupy.engine.parameters import Parameters


@dataclass(frozen=True)
class StepCounts:
    """Steps since the start: applied; skipped, their gradient not being finite; scaled down to clip_norm."""

    applied: int
    skipped: int
    clipped: int


@dataclass(frozen=True)
class Limits:
    """What holds for every optimiser: decoupled decay, a largest global gradient norm, bounds and signs of weights."""

    weight_decay: float = 0.0
    clip_norm: float = math.inf
    weight_clip: tuple[float, float] = (-math.inf, math.inf)
    fixed_sign: bool = False


class Optimizer(ABC):
    """One step: the gradient's norm, the decision about it, the update, the signs."""

    # the decay of the moments, for the bias correction; 0 leaves them uncorrected
    beta1 = 0.0
    beta2 = 0.0

    def __init__(self, device: Device, parameters: Parameters, lr: float, limits: Limits):
        xp = device.xp
        self.device = device
        self.parameters = parameters
        self.limits = limits
        self._lr = 0.0
        self._rate = xp.zeros(1, np.float32)
        self._sums = xp.zeros(reductions.PARTS, np.float32)
        self._arrived = xp.zeros(1, np.int32)
        self.update = xp.zeros(5, np.float32)
        self._counts = xp.zeros(3, np.int64)
        self._birth_sign = xp.where(parameters.values < 0, -1, 1).astype(np.int8) if limits.fixed_sign else None
        self.lr = lr

    @property
    def lr(self) -> float:
        """The learning rate of the next step; it may be set between two steps."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        if value != self._lr:
            self._lr = value
            self.device.launch("fill", 1, self._rate, value, 1)

    def step(self) -> None:
        """Applies parameters.gradients to parameters.values, unless the gradient is not finite."""
        size = self.parameters.size
        scratch, state = (self._sums, self._arrived), (self._rate, self.update, self._counts)
        settings = (self.limits.clip_norm, self.beta1, self.beta2)
        reductions.prepare_update(self.device, self.parameters.gradients, *scratch, *state, settings)
        self._apply()
        if self._birth_sign is not None:
            self.device.launch("keep_sign", size, self.parameters.values, self._birth_sign, size)

    @abstractmethod
    def _apply(self) -> None:
        """Launches the update of the weights."""

    @property
    @abstractmethod
    def _moments(self) -> dict[str, Array]:
        """What this optimiser remembers per weight."""

    @property
    def counts(self) -> StepCounts:
        """Waits for the device."""
        return StepCounts(*(int(count) for count in self.device.to_host(self._counts)))

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all that the next step depends on, NumPy."""
        arrays = {**self._moments, "counts": self._counts}
        if self._birth_sign is not None:
            arrays["birth_sign"] = self._birth_sign
        return {name: self.device.to_host(array).copy() for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes arrays named and shaped like state_dict(). Raises KeyError for one that is missing."""
        targets = {**self._moments, "counts": self._counts}
        if self._birth_sign is not None:
            targets["birth_sign"] = self._birth_sign
        for name, target in targets.items():
            target[...] = self.device.to_device(state[name])

    @property
    def _limit_arguments(self) -> tuple[float, float, float]:
        return (self.limits.weight_decay, *self.limits.weight_clip)


class Adam(Optimizer):
    """Bias-corrected moments: W -= lr m / (sqrt(v) + eps) (Kingma and Ba, ICLR 2015), with decoupled decay.

    parameters: a network's, all weights in one array. The arithmetic is in kernels/optimizer.cu.
    """

    def __init__(
        self,
        device: Device,
        parameters: Parameters,
        lr: float = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        limits: Limits | None = None,
    ):
        self.beta1, self.beta2, self.eps = beta1, beta2, eps
        self._first = device.xp.zeros(parameters.size, np.float32)
        self._second = device.xp.zeros(parameters.size, np.float32)
        super().__init__(device, parameters, lr, limits or Limits())

    def _apply(self) -> None:
        p = self.parameters
        self.device.launch(
            "adam",
            p.size,
            *(
                p.values,
                p.gradients,
                self._first,
                self._second,
                self.update,
                self.beta1,
                self.beta2,
                self.eps,
            ),
            *(*self._limit_arguments, p.size),
        )

    @property
    def _moments(self) -> dict[str, Array]:
        return {"first_moment": self._first, "second_moment": self._second}


class Sgd(Optimizer):
    """W -= lr v with v = momentum v + g, and decoupled decay. parameters: a network's."""

    def __init__(
        self,
        device: Device,
        parameters: Parameters,
        lr: float = 1e-2,
        *,
        momentum: float = 0.0,
        limits: Limits | None = None,
    ):
        self.momentum = momentum
        self._velocity = device.xp.zeros(parameters.size, np.float32)
        super().__init__(device, parameters, lr, limits or Limits())

    def _apply(self) -> None:
        p = self.parameters
        self.device.launch(
            "sgd",
            p.size,
            *(p.values, p.gradients, self._velocity, self.update, self.momentum),
            *(*self._limit_arguments, p.size),
        )

    @property
    def _moments(self) -> dict[str, Array]:
        return {"velocity": self._velocity}
