"""All weights of a network in one array, so that an optimiser step is one kernel: drawing, loading, saving."""

import copy
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.standardization import Standardization, gains_of
from ttfs_cupy.engine.turns import Turns, in_turn


class Parameters:
    """`values` and `gradients` are float32 arrays of all weights, layer after layer; the layers hold views of them.

    A layer's weights begin at a multiple of 16 bytes, as a GPU copies them; what lies between layers is and stays 0.
    An optimiser changes `trained` by `trained_gradients`. These are the same two arrays, unless weights are
    standardised: then they are raw weights and gains, from which `values` follow.
    """

    def __init__(self, device: Device, layers: Sequence[Weighted], *, standardized: bool = False):
        self._device = device
        self._layers = list(layers)
        self.size = sum(_aligned(layer.shape.weights) for layer in layers)
        self.values = device.xp.zeros(self.size, np.float32)
        self.gradients = device.xp.zeros(self.size, np.float32)
        self.turns = Turns(device)
        self._hand_out()
        self._standardization = (
            Standardization(device, self._layers, self._firsts(), self.size) if standardized else None
        )

    def _firsts(self) -> list[int]:
        """Where each layer's weights begin."""
        sizes = [_aligned(layer.shape.weights) for layer in self._layers]
        return [0, *accumulate(sizes)][:-1]

    def _hand_out(self) -> None:
        """Makes each layer's weights and their gradient views of the two arrays."""
        for layer, first in zip(self._layers, self._firsts(), strict=True):
            layer.weights = _view(self.values, first, layer)
            layer.grad_weights = _view(self.gradients, first, layer)

    @property
    def is_standardized(self) -> bool:
        return self._standardization is not None

    @property
    def trained(self) -> Array:
        """float32: of the first `size` each belongs to the weight in its place, and may decay; then come the gains."""
        return self.values if self._standardization is None else self._standardization.trained

    @property
    def trained_gradients(self) -> Array:
        """dLoss/d(trained), once to_trained_gradients() has been called."""
        return self.gradients if self._standardization is None else self._standardization.trained_gradients

    def to_trained_gradients(self) -> None:
        """From `gradients`, as a batch left them, to trained_gradients: one launch, or none."""
        if self._standardization is not None:
            self._standardization.from_gradients(self.gradients)

    def to_values(self) -> None:
        """From `trained`, as a step left it, to `values`: one launch, or none."""
        if self._standardization is not None:
            self._standardization.to_weights(self.values)

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """With copies, for a pickle or a copy, so that they are of one moment."""
        arrays = {"values": self.values.copy(), "gradients": self.gradients.copy()}
        return {**self.__dict__, **arrays, "_standardization": copy.deepcopy(self._standardization)}

    def __copy__(self) -> NoReturn:
        raise TypeError("a copy of the parameters alone has no network: use copy.deepcopy(net), or net.state_dict()")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hand_out()

    def draw(self, seed: int, mean: float = 0.0, std: float | None = None) -> None:
        """Normal weights from PCG64(seed), on the host, so that a seed means the same on every device.

        std None is Kaiming's sqrt(2 / fan_in). Where weights are standardised, these are raw, and gains sqrt(2).
        """
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn = {}
        for layer in self._layers:
            spread = np.sqrt(2 / layer.shape.patch_size) if std is None else std
            normal = generator.standard_normal(layer.public_shape)
            drawn[weight_name(layer)] = (mean + spread * normal).astype(np.float32)
        self.load(drawn)
        if self._standardization is not None:
            for gains in self._standardization.gains.values():
                self.trained[gains] = np.float32(np.sqrt(2))
            self.to_values()

    @in_turn
    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of the weights by name, (out, in, kernel_h, kernel_w) or (out, in), in layer order."""
        return {weight_name(layer): layer.to_public(self._device.to_host(layer.weights)) for layer in self._layers}

    @in_turn
    def gradient_dict(self) -> dict[str, np.ndarray]:
        """Copies of the gradients, named and shaped like state_dict()."""
        return {weight_name(layer): layer.to_public(self._device.to_host(layer.grad_weights)) for layer in self._layers}

    @in_turn
    def load(self, state: Mapping[str, Array]) -> None:
        """Takes weights named and shaped like state_dict(); changes nothing unless all fit.

        Where weights are standardised, training goes on from raw weights like these, with the gains that they have:
        the first step takes off the mean of each neuron's weights, which is 0 if they were standardised before.
        Raises ValueError that names the first weight that is missing, unknown, of another shape or not finite.
        """
        loaded = self._fitting(state, {weight_name(layer): layer.public_shape for layer in self._layers})
        for layer in self._layers:
            layer.weights[...] = self._device.to_device(layer.from_public(loaded[weight_name(layer)]))
        if self._standardization is None:
            return
        self.trained[: self.size] = self.values
        for layer in self._layers:
            if layer.name in self._standardization.gains:
                gains = gains_of(loaded[weight_name(layer)])
                self.trained[self._standardization.gains[layer.name]] = self._device.to_device(gains)
        given = self.values.copy()
        self.to_values()
        # what follows from them is rounded once more: who saved weights gets the same bits back
        self.values[...] = given

    @in_turn
    def trained_dict(self) -> dict[str, np.ndarray]:
        """Copies of what is trained: state_dict(), but of standardised layers raw weights and gains, (out,), by names
        that end in .v and .g."""
        if self._standardization is None:
            return self.state_dict()
        state = {}
        for layer, first in zip(self._layers, self._firsts(), strict=True):
            state[self._trained_name(layer)] = layer.to_public(self._device.to_host(_view(self.trained, first, layer)))
            if layer.name in self._standardization.gains:
                gains = self.trained[self._standardization.gains[layer.name]]
                state[f"{layer.name}.g"] = self._device.to_host(gains).copy()
        return state

    @in_turn
    def load_trained(self, state: Mapping[str, Array]) -> None:
        """Takes what trained_dict() gives. Raises ValueError as load() does."""
        if self._standardization is None:
            self.load(state)
            return
        gains = self._standardization.gains
        shapes: dict[str, tuple[int, ...]] = {self._trained_name(layer): layer.public_shape for layer in self._layers}
        shapes |= {f"{name}.g": (place.stop - place.start,) for name, place in gains.items()}
        loaded = self._fitting(state, shapes)
        for layer, first in zip(self._layers, self._firsts(), strict=True):
            raw = layer.from_public(loaded[self._trained_name(layer)])
            _view(self.trained, first, layer)[...] = self._device.to_device(raw)
        for name, place in gains.items():
            self.trained[place] = self._device.to_device(loaded[f"{name}.g"])
        self.to_values()

    def _trained_name(self, layer: Weighted) -> str:
        is_raw = self._standardization is not None and layer.name in self._standardization.gains
        return f"{layer.name}.v" if is_raw else weight_name(layer)

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


def as_array(what: str, to_host: Callable[[Array], np.ndarray], value: Array) -> np.ndarray:
    """A value as an array on the host. Raises ValueError, naming it, if NumPy makes none of it."""
    try:
        return to_host(value)
    except UserError:  # of the device
        raise
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{what} must be an array, not {type(value).__name__} ({error})") from None


def _view(values: Array, first: int, layer: Weighted) -> Array:
    """A layer's part of an array that is laid out like Parameters.values."""
    return values[first : first + layer.shape.weights].reshape(layer.weights_shape)


def _aligned(floats: int) -> int:
    return -(-floats // 4) * 4


def weight_name(layer: Weighted) -> str:
    return f"{layer.name}.weight"
