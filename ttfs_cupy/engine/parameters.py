"""All weights and initial potentials of a network in one array, so that an optimiser step is one kernel: drawing,
loading, saving."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.standardization import Standardization, aligned, gains_of
from ttfs_cupy.engine.turns import Turns, in_turn

# A number for all layers, or some layers' by their names
OfLayers = float | Mapping[str, float]


class Parameters:
    """`values` and `gradients` are float32 arrays of all weights, layer after layer, and behind them of the layers'
    initial potentials where they have any; the layers hold views of them.

    A layer's weights begin at a multiple of 16 bytes, as a GPU copies them; what lies between layers is and stays 0.
    An optimiser changes `trained` by `trained_gradients`. These are the same two arrays, unless weights are
    standardised: then they are raw weights, potentials and gains, from which `values` follow. decayed: how many of them
    at the front are weights, which may decay; size: of `values`.
    """

    # while others' values are in their place (WeightAverage.in_place)
    are_displaced = False

    def __init__(
        self,
        device: Device,
        layers: Sequence[Weighted],
        *,
        standardized: bool = False,
        initial_potential: bool = False,
    ):
        self._device = device
        self._layers = list(layers)
        self._weights: list[_Weights] = []
        self._potentials: list[_Potentials] = []
        self.decayed = self.size = 0
        for layer in layers:
            self._weights.append(_Weights(layer, self.decayed))
            self.decayed += aligned(layer.shape.weights)
        self.size = self.decayed
        for layer in layers if initial_potential else ():
            self._potentials.append(_Potentials(layer, self.size))
            self.size += aligned(layer.shape.out_channels)
        self.values = device.xp.zeros(self.size, np.float32)
        self.gradients = device.xp.zeros(self.size, np.float32)
        self.turns = Turns(device)
        self._hand_out()
        self._standardization = (
            Standardization(device, self._layers, [part.first for part in self._weights], self.decayed, self.size)
            if standardized
            else None
        )

    def _hand_out(self) -> None:
        """Makes each layer's weights, its initial potentials and their gradients views of the two arrays."""
        for weights in self._weights:
            weights.layer.weights = weights.view(self.values)
            weights.layer.grad_weights = weights.view(self.gradients)
        for potentials in self._potentials:
            potentials.layer.give_potential(potentials.view(self.values), potentials.view(self.gradients))

    @property
    def _parts(self) -> "list[_Weights | _Potentials]":
        """In the order in which they are named: a layer's potentials right after its weights."""
        if not self._potentials:
            return list(self._weights)
        return [part for pair in zip(self._weights, self._potentials, strict=True) for part in pair]

    @property
    def starts(self) -> dict[str, int]:
        """By a layer's name, where its weights begin; in the layers' order, and so from 0 up."""
        return {part.layer.name: part.first for part in self._weights}

    @property
    def has_potentials(self) -> bool:
        return bool(self._potentials)

    @in_turn
    def require_own_values(self) -> None:
        """Raises ValueError within WeightAverage.in_place(); other threads wait for the end of that."""
        if self.are_displaced:
            raise ValueError("the averaged weights are in place: leave the block of in_place() first")

    @property
    def is_standardized(self) -> bool:
        return self._standardization is not None

    @property
    def _gains(self) -> dict[str, slice]:
        """Where in `trained` those of a standardised layer are, by its name."""
        return {} if self._standardization is None else self._standardization.gains

    @property
    def trained(self) -> Array:
        """float32: of the first `size` each belongs to the value in its place; then come the gains."""
        return self.values if self._standardization is None else self._standardization.trained

    @property
    def trained_gradients(self) -> Array:
        """dLoss/d(trained), once to_trained_gradients() has been called."""
        return self.gradients if self._standardization is None else self._standardization.trained_gradients

    @in_turn
    def zero_gradients(self) -> None:
        """Has `gradients` be those of a batch without images: one launch."""
        self._device.launch("fill", self.size, self.gradients, 0.0, self.size)

    @in_turn
    def to_trained_gradients(self) -> None:
        """From `gradients`, as a batch left them, to trained_gradients: one launch, or none."""
        if self._standardization is not None:
            self._standardization.from_gradients(self.gradients)

    @in_turn
    def to_values(self, update: Array | None = None) -> None:
        """From `trained`, as a step left it, to `values`: one launch, or none. update: the step's (Optimizer.update),
        which leaves them as they are if it was skipped."""
        if self._standardization is not None:
            self._standardization.to_weights(self.values, update)

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """With copies, for a pickle or a copy, so that they are of one moment."""
        self.require_own_values()
        arrays = {"values": self.values.copy(), "gradients": self.gradients.copy()}
        return {**self.__dict__, **arrays, "_standardization": copy.deepcopy(self._standardization)}

    def __copy__(self) -> NoReturn:
        raise TypeError("a copy of the parameters alone has no network: use copy.deepcopy(net), or net.state_dict()")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hand_out()

    def draw(self, seed: int, mean: OfLayers = 0.0, std: OfLayers | None = None) -> None:
        """Normal weights from PCG64(seed), on the host: a seed means the same on every device. Initial potentials of 0.

        mean, std: a number for all layers, or by layers' names; by default, and for a layer that is not named, 0 and
        Kaiming's sqrt(2 / fan_in). Where weights are standardised, these are of raw ones, and gains sqrt(2).
        """
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn = {part.name: np.zeros(part.public_shape, np.float32) for part in self._potentials}
        for part in self._weights:
            centre, spread = _of_layer(mean, part.layer.name), _of_layer(std, part.layer.name)
            if spread is None:
                spread = np.sqrt(2 / part.layer.shape.patch_size)
            normal = generator.standard_normal(part.public_shape)
            drawn[part.name] = ((centre or 0.0) + spread * normal).astype(np.float32)
        self.load(drawn)
        for place in self._gains.values():
            self.trained[place] = np.float32(np.sqrt(2))
        self.to_values()

    @in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name, (out, in, kernel_h, kernel_w) or (out, in), in layer order; after each layer's
        its initial potentials, (out,)."""
        return {part.name: part.to_public(self._device.to_host(part.view(self.values))) for part in self._parts}

    @in_turn
    def gradient_dict(self) -> dict[str, np.ndarray]:
        """Copies of the gradients, named and shaped like state_dict()."""
        return {part.name: part.to_public(self._device.to_host(part.view(self.gradients))) for part in self._parts}

    @in_turn
    def load(self, state: Mapping[str, Array]) -> None:
        """Takes weights named and shaped like state_dict(); changes nothing unless all fit.

        Where weights are standardised, training goes on from raw weights like these, with the gains that they have:
        the first step takes off the mean of each neuron's weights, which is 0 if they were standardised before.
        Raises ValueError that names the first weight that is missing, unknown, of another shape or not finite.
        """
        self.require_own_values()
        loaded = self._fitting(state, {part.name: part.public_shape for part in self._parts})
        for part in self._parts:
            part.view(self.values)[...] = self._device.to_device(part.from_public(loaded[part.name]))
        if self._standardization is None:
            return
        self.trained[: self.size] = self.values
        for name, place in self._gains.items():
            self.trained[place] = self._device.to_device(gains_of(loaded[f"{name}.weight"]))
        given = self.values.copy()
        self.to_values()
        # what follows from them is rounded once more: who saved weights gets the same bits back
        self.values[...] = given

    @in_turn
    def trained_dict(self) -> dict[str, np.ndarray]:
        """Copies of what is trained: state_dict(), but of standardised layers raw weights and gains, (out,), by names
        that end in .v and .g. Raises ValueError while averaged weights are in place."""
        self.require_own_values()
        state, gains = {}, self._gains
        for part in self._parts:
            state[self._trained_name(part)] = part.to_public(self._device.to_host(part.view(self.trained)))
            if isinstance(part, _Weights) and part.layer.name in gains:
                own = self.trained[gains[part.layer.name]]
                state[f"{part.layer.name}.g"] = self._device.to_host(own).copy()
        return state

    @in_turn
    def load_trained(self, state: Mapping[str, Array]) -> None:
        """Takes what trained_dict() gives. Raises ValueError as load() does."""
        self.require_own_values()
        gains = self._gains
        shapes: dict[str, tuple[int, ...]] = {self._trained_name(part): part.public_shape for part in self._parts}
        shapes |= {f"{name}.g": (place.stop - place.start,) for name, place in gains.items()}
        loaded = self._fitting(state, shapes)
        for part in self._parts:
            raw = part.from_public(loaded[self._trained_name(part)])
            part.view(self.trained)[...] = self._device.to_device(raw)
        for name, place in gains.items():
            self.trained[place] = self._device.to_device(loaded[f"{name}.g"])
        self.to_values()

    def _trained_name(self, part: "_Weights | _Potentials") -> str:
        return f"{part.layer.name}.v" if isinstance(part, _Weights) and part.layer.name in self._gains else part.name

    def _fitting(self, state: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
        """As float32 on the host. Raises ValueError unless these arrays have these names and shapes, and are finite."""
        if not isinstance(state, Mapping):
            raise ValueError(f"weights must be a mapping from names to arrays, not {type(state).__name__}")
        for name in [*shapes, *state]:
            if name not in state:
                raise ValueError(f"weights '{name}' are missing")
            if name not in shapes:
                raise ValueError(f"weights {shown(name)} are not in this network ({listed(shapes)})")
        loaded = {name: as_array(f"weights '{name}'", self._device.to_host, state[name]) for name in shapes}
        for name, shape in shapes.items():
            if loaded[name].shape != shape:
                raise ValueError(f"weights '{name}' have shape {loaded[name].shape}, the network's {shape}")
            if loaded[name].dtype.kind not in "fiu":
                raise ValueError(f"weights '{name}' must be real numbers, not {loaded[name].dtype}")
            # as float32, in which a large number may be infinite
            with np.errstate(over="ignore"):
                loaded[name] = loaded[name].astype(np.float32, copy=False)
            if not np.isfinite(loaded[name]).all():
                raise ValueError(f"weights '{name}' are not all finite")
        return loaded


def _of_layer(value: OfLayers | None, name: str) -> float | None:
    """None for a layer that is not named."""
    return value.get(name) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class _Weights:
    """A layer's weights, from that place on in an array that is laid out like Parameters.values."""

    layer: Weighted
    first: int

    @property
    def name(self) -> str:
        return f"{self.layer.name}.weight"

    @property
    def public_shape(self) -> tuple[int, ...]:
        return self.layer.public_shape

    def view(self, values: Array) -> Array:
        return values[self.first : self.first + self.layer.shape.weights].reshape(self.layer.weights_shape)

    def to_public(self, weights: np.ndarray) -> np.ndarray:
        return self.layer.to_public(weights)

    def from_public(self, weights: np.ndarray) -> np.ndarray:
        return self.layer.from_public(weights)


@dataclass(frozen=True)
class _Potentials:
    """A layer's initial potentials, likewise."""

    layer: Weighted
    first: int

    @property
    def name(self) -> str:
        return f"{self.layer.name}.potential"

    @property
    def public_shape(self) -> tuple[int, ...]:
        return (self.layer.shape.out_channels,)

    def view(self, values: Array) -> Array:
        return values[self.first : self.first + self.layer.shape.out_channels]

    def to_public(self, potentials: np.ndarray) -> np.ndarray:
        return potentials.copy()

    def from_public(self, potentials: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(potentials)


def as_array(what: str, to_host: Callable[[Array], np.ndarray], value: Array) -> np.ndarray:
    """A value as an array on the host. Raises ValueError, naming it, if NumPy makes none of it."""
    try:
        return to_host(value)
    except UserError:  # of the device
        raise
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{what} must be an array, not {type(value).__name__} ({error})") from None
