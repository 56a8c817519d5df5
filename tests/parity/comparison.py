"""Our network beside one of theirs: the same input for each layer, and backward at the same spike times."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reference.comparison import host, outputs_of

from parity.figures import record
from parity.their_network import TheirNetwork

Array = np.ndarray
# A network of theirs in float64, and the same in float32.
Sides = Mapping[torch.dtype, TheirNetwork]

# Of a spike time where D = 1 + S is at least 0.1, and of one at the window's start (D <= 0). In between 1/D magnifies
# whatever is rounded: there 0.1/D times as much is allowed.
TIMES, CONDITIONED = 1e-5, 0.1
# Of potentials and gradients, relative to the largest of a layer.
POTENTIALS = 1e-5
GRADIENTS = 2e-6
# |A + S| / (1 + |S|), in float64, of a neuron that spikes on one side alone.
FLIP_MARGIN = 1e-5


@dataclass(frozen=True)
class LayerComparison:
    """Of a spiking layer. of_allowed: the largest deviation of a spike time, as a share of what its D allows.

    at_end: neurons that spike exactly as their window ends in theirs, and are silent here. flips: others that spike on
    one side alone; widest: the largest of their margins.
    """

    layer: str
    time_error: float
    of_allowed: float
    flips: int
    widest: float
    at_end: int
    neurons: int

    def check(self) -> None:
        assert self.of_allowed <= 1, (
            f"{self.layer}: a spike time deviates by {self.of_allowed:.2g} times what its D allows; the largest "
            f"deviation is {self.time_error:.1e}"
        )
        assert self.widest <= FLIP_MARGIN, (
            f"{self.layer}: one of {self.flips} flips is {self.widest:.1e} from the brink"
        )


def compared(layer: str, times: Array, theirs: Array, drive: Array, weight_sum: Array, t_win: float) -> LayerComparison:
    """Our times beside theirs, given the drive and the weight sum by their float64."""
    ours_fires, theirs_fires = np.isfinite(times), np.isfinite(theirs)
    both, divisor = ours_fires & theirs_fires, 1 + weight_sum
    apart = np.zeros_like(times)
    apart[both] = np.abs(times[both] - theirs[both])
    at_end = (theirs == t_win) & ~ours_fires
    flips = (ours_fires != theirs_fires) & ~at_end
    brink = np.where(divisor > 0, drive + t_win * weight_sum, drive - t_win)
    margins = np.abs(brink) / (1 + np.abs(weight_sum))
    magnified = (divisor > 0) & (divisor < CONDITIONED)
    allowed = TIMES * np.where(magnified, CONDITIONED / np.where(magnified, divisor, 1), 1)
    return LayerComparison(
        layer,
        float(apart.max()),
        float((apart / allowed).max()),
        int(flips.sum()),
        float(margins[flips].max(initial=0)),
        int(at_end.sum()),
        times.size,
    )


def times_of(earliness: Array, t_win: float = 1.0) -> Array:
    """Infinity is silence."""
    return np.where(earliness == 0, np.inf, t_win - earliness)


def flat(weights: Iterable[Array]) -> Array:
    """All of them behind each other, as float64."""
    return np.concatenate([np.ravel(array) for array in weights]).astype(np.float64)


def of_largest(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max())


def layer_by_layer(
    net: Any, theirs: TheirNetwork, encoded: Any
) -> tuple[list[LayerComparison], list[torch.Tensor], float]:
    """Gives each of their layers what ours got, after our forward pass.

    Returns the comparisons, our outputs as theirs take them for backward, and the potentials' deviation.
    """
    given = theirs.times_of(host(encoded).transpose(0, 3, 1, 2))
    found, outputs, potentials = [], [], 0.0
    for number, (layer, output) in enumerate(zip(net.layers, outputs_of(net), strict=True)):
        answer = theirs.layer_forward(number, given).reshape(output.shape)
        if layer.has_weights and not layer.is_spiking:
            potentials = of_largest(output, answer)
            outputs.append(torch.from_numpy(output).to(theirs.dtype))
            continue
        times = times_of(output, theirs.t_win)
        if layer.is_spiking:
            cache = theirs.layers[number].train_cache
            weighted, weight_sum = (
                cache[name].numpy().astype(np.float64).reshape(output.shape)
                for name in ("weighted_input", "valid_w_sum")
            )
            drive = theirs.t_win * weight_sum - weighted
            found.append(compared(layer.name, times, answer, drive, weight_sum, theirs.t_win))
        else:
            # a maximum of the same numbers
            np.testing.assert_array_equal(theirs.times_of(output).numpy(), answer, err_msg=layer.name)
        given = theirs.times_of(output)
        outputs.append(given)
    return found, outputs, potentials


def gradient_errors(ours: Any, theirs: Sequence[Array]) -> dict[str, float]:
    return {name: of_largest(mine, other) for (name, mine), other in zip(ours.items(), theirs, strict=True)}


def backward(net: Any, sides: Sides, encoded: Any, labels: Array, ours: Any) -> tuple[Any, dict[str, float], float]:
    """Gradients from their float64, ours by name, and the largest of their own float32's.

    Returns them after what layer_by_layer returns of their float64. Both sides of theirs go back over our spike times.
    """
    layers = layer_by_layer(net, sides[torch.float64], encoded)
    exact = sides[torch.float64].gradients(layers[1], labels)
    _, outputs, _ = layer_by_layer(net, sides[torch.float32], encoded)
    in_float32 = sides[torch.float32].gradients(outputs, labels)
    their_own = max(of_largest(mine, other) for mine, other in zip(in_float32, exact, strict=True))
    return layers, gradient_errors(ours, exact), their_own


def check_layers(about: str, found: Sequence[LayerComparison], potentials: float, **more: float) -> None:
    """Of a forward pass; records the largest deviations, and more."""
    record(
        about,
        spike_times=max((one.time_error for one in found), default=0.0),
        flips=sum(one.flips for one in found),
        at_the_end=sum(one.at_end for one in found),
        neurons=sum(one.neurons for one in found),
        potentials=potentials,
        **more,
    )
    for one in found:
        one.check()
    assert potentials <= POTENTIALS


def check(
    net: Any, sides: Sides, images: Array, labels: Array, about: str, gradients: float = GRADIENTS
) -> torch.Tensor:
    """Forward and backward of a batch; records the largest deviations. Returns the readout, as theirs takes it."""
    encoded = net.encode(images)
    _, ours = net.loss_and_gradients(encoded, labels)
    (found, outputs, potentials), errors, their_own = backward(net, sides, encoded, labels, ours)
    check_layers(about, found, potentials, gradients=max(errors.values()), theirs_in_float32=their_own)
    for name, error in errors.items():
        assert error <= gradients, f"the gradient of {name} deviates by {error:.1e}"
    return outputs[-1]
