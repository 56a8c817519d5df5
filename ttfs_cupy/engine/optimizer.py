"""Adam and SGD over all weights at once (docs/model.md, "Optimisers"); their state and decisions stay on the device."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.checks import (
    LARGEST,
    SMALLEST,
    check_flag,
    check_kind,
    check_not_negative,
    check_number,
    check_positive,
    is_number,
)
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.device import Array, Device, reductions
from ttfs_cupy.engine.parameters import Parameters, as_array
from ttfs_cupy.engine.turns import Turns, in_turn

# The next number below 1 that is not 1 in float32, rounded down.
BELOW_ONE = 0.9999999
# Squares of gradients below 1e-20 are 0 in float32: with a smaller eps, Adam's steps have no bound.
EPSILONS = (1e-20, 1.0)
# Smaller gradients get lost in Adam's eps: nothing would be learnt.
NORM_BOUNDS = (1e-6, LARGEST)


# Of StepCounts, as they lie on the device: the places of the last two
_IN_A_ROW, _LONGEST_ROW = 3, 4


@dataclass(frozen=True)
class StepCounts:
    """Steps since the start: applied; skipped, their gradient not being finite; scaled down to clip_norm.

    in_a_row: skipped since the last one that was applied. longest_row: the most that ever were.
    """

    applied: int
    skipped: int
    clipped: int
    in_a_row: int = 0
    longest_row: int = 0


@dataclass(frozen=True)
class Limits:
    """What holds for every optimiser: decoupled decay, a largest global gradient norm, bounds and signs of weights, and
    l2, by which weights are added to the gradient before the moments (what PyTorch's SGD and Adam call weight_decay).

    Bounds hold from an optimiser's construction on: it moves the weights that lie outside. A sign is that from before.
    Where weights are standardised, raw ones decay, gains do not, and there are neither bounds nor signs.
    Raises UserError for a negative decay or l2, a norm not above 0, bounds that are not in order, and with fixed_sign
    those that leave out 0.
    """

    weight_decay: float = 0.0
    clip_norm: float = math.inf
    weight_clip: tuple[float, float] = (-math.inf, math.inf)
    fixed_sign: bool = False
    l2: float = 0.0

    def __post_init__(self) -> None:
        # the numbers of a frozen class, as Python's own
        for name in ("weight_decay", "l2"):
            object.__setattr__(self, name, check_not_negative(name, getattr(self, name)))
        if not (is_number(self.clip_norm) and self.clip_norm == math.inf):
            object.__setattr__(self, "clip_norm", check_number("clip_norm", self.clip_norm, *NORM_BOUNDS))
        bounds = self.weight_clip
        if not (isinstance(bounds, (tuple, list)) and len(bounds) == 2 and all(map(is_number, bounds))):
            raise UserError(f"weight_clip must be two numbers, not {shown(bounds)}")
        low, high = map(_checked_bound, bounds)
        if not low < high:
            raise UserError(f"weight_clip must have the lower number first, not {shown(bounds)}")
        object.__setattr__(self, "weight_clip", (low, high))
        check_flag("fixed_sign", self.fixed_sign)
        if self.fixed_sign and (trouble := sign_trouble((low, high))):
            raise UserError(f"weight_clip {trouble}")


def _checked_decay(name: str, value: float) -> float:
    """Of a moment, or of the velocity. Raises UserError unless it lies in 0 to BELOW_ONE."""
    if is_number(value) and BELOW_ONE < value < 1:
        raise UserError(f"{name} must be at most {BELOW_ONE}, not {shown(value)}")
    if not (is_number(value) and 0 <= value < 1):
        raise UserError(f"{name} must be a number from 0 to below 1, not {shown(value)}")
    return float(value)


def _checked_bound(value: float) -> float:
    """Of weight_clip: infinite, or of a size that float32 can hold. Raises UserError for any other number."""
    if abs(value) == math.inf:
        return float(value)
    bound = check_number("each number of weight_clip", value, -LARGEST, LARGEST)
    if 0 < abs(bound) < SMALLEST:
        raise UserError(f"each number of weight_clip must be 0, or of a size that float32 can hold, not {shown(value)}")
    return bound


def decay_trouble(lr: float, weight_decay: float) -> str | None:
    """What is wrong with that decay at that rate; None if nothing is."""
    if lr * weight_decay <= 1:
        return None
    return (
        f"is {weight_decay:g}: a step takes lr times that off each weight, with lr {lr:g} more than all of it; "
        "lower one of them"
    )


def sign_trouble(weight_clip: tuple[float, float]) -> str | None:
    """What is wrong with those bounds where signs are fixed; None if nothing is."""
    low, high = weight_clip
    if low <= 0 <= high:
        return None
    return (
        f"is {shown([low, high])}, but fixed_sign needs 0 in it, where weights stay that would cross it: widen it, or "
        "leave one of them out"
    )


def _refuse_bounds(limits: Limits) -> None:
    """Standardised weights have neither: raw weights have no size or sign that means anything."""
    if limits.fixed_sign or limits.weight_clip != (-math.inf, math.inf):
        name = "fixed_sign" if limits.fixed_sign else "weight_clip"
        raise UserError(f"{name} does not go with standardised weights, whose raw weights it would bound: leave it out")


class Optimizer(ABC):
    """One step: the gradient's norm, the decision about it, the update, the signs.

    It is made for weights as they are then: with limits.fixed_sign it takes their signs, and those outside
    limits.weight_clip it moves to the bounds, `moved` of them. So load weights first; of later ones, the first step
    bounds those. Raises UserError for a number that a config would refuse.
    """

    # the decay of the moments, for the bias correction; 0 leaves them uncorrected
    beta1 = 0.0
    beta2 = 0.0

    def __init__(self, device: Device, parameters: Parameters, lr: float, limits: Limits | None):
        if not hasattr(device, "launch"):
            raise TypeError(f"device must be a network's device, not {type(device).__name__}")
        check_kind("parameters", parameters, Parameters)
        limits = Limits() if limits is None else limits
        check_kind("limits", limits, Limits)
        if parameters.is_standardized:
            _refuse_bounds(limits)
        lr = check_positive("lr", lr)
        self.device = device
        self.parameters = parameters
        self.limits = limits
        self._lr = 0.0
        with self.turns.take():
            self._make_arrays()
            self.moved = self._bound_weights()
        self.lr = lr

    def _make_arrays(self) -> None:
        xp, fixed_sign = self.device.xp, self.limits.fixed_sign
        self._rate = xp.zeros(1, np.float32)
        self._sums = xp.zeros(reductions.PARTS, np.float32)
        self._arrived = xp.zeros(1, np.int32)
        self.update = xp.zeros(5, np.float32)
        self._counts = xp.zeros(reductions.COUNTS, np.int64)
        weights = self.parameters.values[: self.parameters.decayed]
        self._birth_sign = xp.where(weights < 0, -1, 1).astype(np.int8) if fixed_sign else None

    def _bound_weights(self) -> int:
        """As after a step; returns how many weights lay outside."""
        if self.limits.weight_clip == (-math.inf, math.inf):
            return 0
        self.parameters.require_own_values()
        place = slice(self.parameters.decayed)
        weights = self.device.to_host(self.parameters.values[place])
        low, high = map(np.float32, self.limits.weight_clip)
        bounded = np.clip(weights, low, high)
        moved = int(np.count_nonzero(bounded != weights))
        self.parameters.values[place] = self.device.to_device(bounded)
        self._keep_signs()
        return moved

    def _keep_signs(self) -> None:
        if self._birth_sign is not None:
            size = self.parameters.decayed
            self.device.launch("keep_sign", size, self.parameters.values, self._birth_sign, size)

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """With copies, for a pickle or a copy, so that they are of one moment."""
        array = self.device.xp.ndarray
        return {name: value.copy() if isinstance(value, array) else value for name, value in self.__dict__.items()}

    def __copy__(self) -> NoReturn:
        raise TypeError("a copy of an optimiser alone has no network: use copy.deepcopy((net, optimizer))")

    @property
    def turns(self) -> Turns:
        """Those of the network whose weights it changes."""
        return self.parameters.turns

    @property
    def lr(self) -> float:
        """The learning rate of the next step, from 0; it may be set between two steps.

        Raises UserError for what is none, and where limits.weight_decay would take more than all of a weight.
        """
        return self._lr

    @lr.setter
    @in_turn
    def lr(self, value: float) -> None:
        value = check_number("lr", value, 0, LARGEST)
        if trouble := decay_trouble(value, self.limits.weight_decay):
            raise UserError(f"weight_decay {trouble}")
        if value != self._lr:
            self._lr = value
            self.device.launch("fill", 1, self._rate, value, 1)

    @in_turn
    def step(self) -> None:
        """Applies parameters.gradients to what is trained, unless the gradient is not finite."""
        parameters = self.parameters
        parameters.require_own_values()
        parameters.to_trained_gradients()
        scratch, state = (self._sums, self._arrived), (self._rate, self.update, self._counts)
        settings = (self.limits.clip_norm, self.beta1, self.beta2)
        reductions.prepare_update(self.device, parameters.trained_gradients, *scratch, *state, settings)
        self._apply()
        self._keep_signs()
        parameters.to_values(self.update)

    @property
    def decided(self) -> tuple[Array, Array]:
        """On the device, of the last step: `update` as kernels/optimizer.cu takes it, and what StepCounts says."""
        return self.update, self._counts

    @abstractmethod
    def _apply(self) -> None:
        """Launches the update of the weights."""

    @property
    @abstractmethod
    def _moments(self) -> dict[str, Array]:
        """What this optimiser remembers per weight."""

    @property
    @in_turn
    def counts(self) -> StepCounts:
        """Waits for the device."""
        return StepCounts(*(int(count) for count in self.device.to_host(self._counts)))

    @in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all that the next step depends on, NumPy. Of the counts the longest row is not among them: rows are
        counted anew, from the one that has begun."""
        return {name: self.device.to_host(array).copy() for name, array in self._state.items()}

    @in_turn
    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes arrays named, shaped and typed like state_dict().

        Raises ValueError, changing nothing, that names the first one that is missing, unknown or unlike it.
        """
        targets = self._state
        if not isinstance(state, Mapping):
            raise ValueError(f"the state must be a mapping from names to arrays, not {type(state).__name__}")
        for name in [*targets, *state]:
            if name not in state:
                raise ValueError(f"the optimiser's '{name}' is missing")
            if name not in targets:
                raise ValueError(f"the optimiser has no {shown(name)}, only {', '.join(targets)}")
        given = {name: as_array(f"the optimiser's '{name}'", self.device.to_host, state[name]) for name in targets}
        if given["counts"].shape == (3,):
            # of earlier versions, which did not count rows of skipped steps
            given["counts"] = np.append(given["counts"], np.zeros_like(given["counts"], shape=1))
        for name, target in targets.items():
            _check_state(name, given[name], target.shape, target.dtype)
        for name, target in targets.items():
            target[...] = self.device.to_device(given[name])
        self._counts[_LONGEST_ROW] = self._counts[_IN_A_ROW]

    @property
    def _state(self) -> dict[str, Array]:
        """By name, the arrays that a saved state has, or views of them."""
        arrays = {**self._moments, "counts": self._counts[:_LONGEST_ROW]}
        return arrays if self._birth_sign is None else {**arrays, "birth_sign": self._birth_sign}

    @property
    def _limit_arguments(self) -> tuple[float, float, float, float]:
        return (self.limits.weight_decay, self.limits.l2, *self.limits.weight_clip)


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
        super().__init__(device, parameters, lr, limits)
        self.beta1, self.beta2 = _checked_decay("beta1", beta1), _checked_decay("beta2", beta2)
        self.eps = check_number("eps", eps, *EPSILONS)

    def _make_arrays(self) -> None:
        super()._make_arrays()
        self._first, self._second = (self.device.xp.zeros(self.parameters.trained.size, np.float32) for _ in range(2))

    def _apply(self) -> None:
        p = self.parameters
        self.device.launch(
            "adam",
            p.trained.size,
            *(
                p.trained,
                p.trained_gradients,
                self._first,
                self._second,
                self.update,
                self.beta1,
                self.beta2,
                self.eps,
            ),
            *(*self._limit_arguments, p.decayed, p.trained.size),
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
        super().__init__(device, parameters, lr, limits)
        self.momentum = _checked_decay("momentum", momentum)

    def _make_arrays(self) -> None:
        super()._make_arrays()
        self._velocity = self.device.xp.zeros(self.parameters.trained.size, np.float32)

    def _apply(self) -> None:
        p = self.parameters
        self.device.launch(
            "sgd",
            p.trained.size,
            *(p.trained, p.trained_gradients, self._velocity, self.update, self.momentum),
            *(*self._limit_arguments, p.decayed, p.trained.size),
        )

    @property
    def _moments(self) -> dict[str, Array]:
        return {"velocity": self._velocity}


def _check_state(name: str, given: np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """What a step could go on from: moments that are numbers, counts and second moments from 0, signs."""
    if given.shape != shape or given.dtype != dtype:
        raise ValueError(f"the optimiser's '{name}' must be {dtype} {shape}, not {given.dtype} {given.shape}")
    if not np.isfinite(given).all():
        raise ValueError(f"the optimiser's '{name}' is not finite")
    if name in ("counts", "second_moment") and (given < 0).any():
        raise ValueError(f"the optimiser's '{name}' must not be negative")
    if name == "birth_sign" and not (np.abs(given) == 1).all():
        raise ValueError(f"the optimiser's '{name}' must be 1 or -1")
