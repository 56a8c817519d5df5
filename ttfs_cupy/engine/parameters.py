"""All weights of a network in one array, so that an optimiser step is one kernel: drawing, loading, saving."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.device import Array, Device
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.turns import Turns, in_turn


class Parameters:
    """`values` and `gradients` are float32 arrays of all weights, layer after layer; the layers hold views of them.

    A layer's weights begin at a multiple of 16 bytes, as a GPU copies them; what lies between layers is and stays 0.
    """

    def __init__(self, device: Device, layers: Sequence[Weighted]):
        self._device = device
        self._layers = list(layers)
        self.size = sum(_aligned(layer.shape.weights) for layer in layers)
        self.values = device.xp.zeros(self.size, np.float32)
        self.gradients = device.xp.zeros(self.size, np.float32)
        self.turns = Turns(device)
        self._hand_out()

    def _hand_out(self) -> None:
        """Makes each layer's weights and their gradient views of the two arrays."""
        first = 0
        for layer in self._layers:
            last = first + layer.shape.weights
            layer.weights = self.values[first:last].reshape(layer.weights_shape)
            layer.grad_weights = self.gradients[first:last].reshape(layer.weights_shape)
            first += _aligned(layer.shape.weights)

    @in_turn
    def __getstate__(self) -> dict[str, Any]:
        """With copies, for a pickle or a copy, so that they are of one moment."""
        return {**self.__dict__, "values": self.values.copy(), "gradients": self.gradients.copy()}

    def __copy__(self) -> NoReturn:
        raise TypeError("a copy of the parameters alone has no network: use copy.deepcopy(net), or net.state_dict()")

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hand_out()

    def draw(self, seed: int, mean: float = 0.0, std: float | None = None) -> None:
        """Normal weights from PCG64(seed), on the host, so that a seed means the same on every device.

        std None is Kaiming's sqrt(2 / fan_in).
        """
        generator = np.random.Generator(np.random.PCG64(seed))
        drawn = {}
        for layer in self._layers:
            spread = np.sqrt(2 / layer.shape.patch_size) if std is None else std
            normal = generator.standard_normal(layer.public_shape)
            drawn[weight_name(layer)] = (mean + spread * normal).astype(np.float32)
        self.load(drawn)

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

        Raises ValueError that names the first weight that is missing, unknown, of another shape or not finite.
        """
        if not isinstance(state, Mapping):
            raise ValueError(f"weights must be a mapping from names to arrays, not {type(state).__name__}")
        expected = {weight_name(layer): layer for layer in self._layers}
        for name in [*expected, *state]:
            if name not in state:
                raise ValueError(f"weights '{name}' are missing")
            if name not in expected:
                raise ValueError(f"weights {shown(name)} are not in this network ({listed(expected)})")
        loaded = {name: as_array(f"weights '{name}'", self._device.to_host, state[name]) for name in expected}
        for name, layer in expected.items():
            if loaded[name].shape != layer.public_shape:
                raise ValueError(
                    f"weights '{name}' have shape {loaded[name].shape}, the network's {layer.public_shape}"
                )
            if loaded[name].dtype.kind not in "fiu":
                raise ValueError(f"weights '{name}' must be real numbers, not {loaded[name].dtype}")
            # as float32, in which a large number may be infinite
            with np.errstate(over="ignore"):
                loaded[name] = loaded[name].astype(np.float32, copy=False)
            if not np.isfinite(loaded[name]).all():
                raise ValueError(f"weights '{name}' are not all finite")
        for name, layer in expected.items():
            inner = layer.from_public(loaded[name])
            layer.weights[...] = self._device.to_device(inner)


def as_array(what: str, to_host: Callable[[Array], np.ndarray], value: Array) -> np.ndarray:
    """A value as an array on the host. Raises ValueError, naming it, if NumPy makes none of it."""
    try:
        return to_host(value)
    except UserError:  # of the device
        raise
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{what} must be an array, not {type(value).__name__} ({error})") from None


def _aligned(floats: int) -> int:
    return -(-floats // 4) * 4


def weight_name(layer: Weighted) -> str:
    return f"{layer.name}.weight"
