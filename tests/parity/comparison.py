"""Our network beside one of theirs: the same input for each layer, and backward at the same spike times."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reference.comparison import host, outputs_of

from parity.figures import record
from parity.their_network import TheirNetwork

Array = np.ndarray

# Of a spike time, where D = 1 + S is at least 0.1. Below that 1/D magnifies whatever is rounded: it may then be 0.1/D
# times as much.
TIMES = 1e-5
# Of potentials and gradients, relative to the largest of a layer. Winograd's algorithm, which small kernels get by
# default, rounds more than matrix products do.
POTENTIALS = 1e-5
GRADIENTS = {"gemm": 3e-6, "auto": 1e-5}
# |A + S| / (1 + |S|), in float64, of a neuron that spikes on one side alone.
FLIP_MARGIN = 1e-5


@dataclass(frozen=True)
class LayerComparison:
    """Of a spiking layer. at_end: neurons that spike exactly as their window ends in theirs, and are silent here.

    flips: others that spike on one side alone; widest: the largest of their margins.
    """

    layer: str
    time_error: float
    conditioned: float
    flips: int
    widest: float
    at_end: int
    neurons: int

    def check(self) -> None:
        assert self.conditioned <= TIMES, f"{self.layer}: a spike time deviates by {self.time_error:.1e}"
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
    # at D <= 0 a neuron spikes at once, which nothing amplifies
    conditioned = np.where(divisor > 0, apart * np.clip(divisor / 0.1, 0, 1), apart)
    return LayerComparison(
        layer,
        float(apart.max()),
        float(conditioned.max()),
        int(flips.sum()),
        float(margins[flips].max(initial=0)),
        int(at_end.sum()),
        times.size,
    )


def of_largest(ours: Array, theirs: Array) -> float:
    return float(np.abs(ours.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max())


def layer_by_layer(
    net: Any, theirs: TheirNetwork, encoded: Any, readout: str = "potential"
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
        times = np.where(output == 0, np.inf, theirs.t_win - output)
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
            np.testing.assert_array_equal(times, answer, err_msg=layer.name)
        given = theirs.times_of(output)
        outputs.append(given)
    return found, outputs, potentials


def gradient_errors(ours: Any, theirs: Sequence[Array]) -> dict[str, float]:
    return {name: of_largest(mine, other) for (name, mine), other in zip(ours.items(), theirs, strict=True)}


def check(net: Any, theirs: TheirNetwork, images: Array, labels: Array, about: str, gradients: float) -> None:
    """Forward and backward of a batch; records the largest deviations."""
    encoded = net.encode(images)
    _, ours = net.loss_and_gradients(encoded, labels)
    found, outputs, potentials = layer_by_layer(net, theirs, encoded)
    errors = gradient_errors(ours, theirs.gradients(outputs, labels))
    record(
        about,
        spike_times=max((one.time_error for one in found), default=0.0),
        flips=sum(one.flips for one in found),
        at_the_end=sum(one.at_end for one in found),
        neurons=sum(one.neurons for one in found),
        potentials=potentials,
        gradients=max(errors.values()),
    )
    for one in found:
        one.check()
    assert potentials <= POTENTIALS
    for name, error in errors.items():
        assert error <= gradients, f"the gradient of {name} deviates by {error:.1e}"
