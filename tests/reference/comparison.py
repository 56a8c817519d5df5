"""The engine beside a float64 reference, layer by layer.

Every reference layer is given the engine's own output of the layer below, since a neuron that crosses silence moves
the weight sum of all that it feeds by a whole weight: end to end, two correct computations part. For the same reason
the reference's backward pass runs at the engine's spike times, with the weight sums recomputed in float64.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from reference import earliness
from reference.earliness import PotentialReadout, Response, WeightedLayer
from reference.specification import LayerSpec

# Of a spike time, times min(1, D): where D is small, the time is ill-conditioned by 1/D whoever computes it.
TIME_TOLERANCE = 2e-5
# A neuron may flip between firing and silence only if the float64 reference is this close to the brink itself.
FLIP_MARGIN = 1e-5
# Of potentials and gradients, in the norm.
RELATIVE_TOLERANCE = 1e-5

# The same tests on a GPU: TTFS_CUPY_TEST_DEVICE=cuda
DEVICE = os.environ.get("TTFS_CUPY_TEST_DEVICE", "cpu")


@dataclass(frozen=True)
class Deviation:
    """How far the engine's spikes of one layer lie from the reference's."""

    layer: str
    time_error: float
    flips: int
    widest_flip: float

    def check(self) -> None:
        assert self.time_error <= TIME_TOLERANCE, f"{self.layer}: a spike time deviates by {self.time_error:.1e}"
        assert self.widest_flip <= FLIP_MARGIN, (
            f"{self.layer}: {self.flips} neurons flipped, one of them {self.widest_flip:.1e} away from the brink"
        )


class FiringRule(Protocol):
    @property
    def t_win(self) -> float: ...
    @property
    def psp_slope(self) -> float: ...


def deviation(
    layer: str,
    actual: np.ndarray,
    expected: np.ndarray,
    drive: np.ndarray,
    weight_sum: np.ndarray,
    rule: FiringRule,
) -> Deviation:
    """Of the earliness of one layer, given the reference's drive and weight sum."""
    growth = 1 + rule.psp_slope * weight_sum
    flipped = (actual != 0) != (expected != 0)
    # Where D > 0 the brink is A + L T S = 0, and elsewhere it is A = T: the only way to fire is then at once.
    brink = np.where(growth > 0, drive + rule.psp_slope * rule.t_win * weight_sum, drive - rule.t_win)
    margin = np.abs(brink) / (1 + np.abs(weight_sum))
    condition = np.where(growth > 0, np.minimum(1, growth), 1)
    time_error = np.where(flipped, 0, np.abs(actual - expected) * condition)
    return Deviation(layer, float(time_error.max()), int(flipped.sum()), float(margin[flipped].max(initial=0)))


def host(array: Any) -> np.ndarray:
    """NumPy's view of the engine's array, wherever it lies."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def nchw(array: Any) -> np.ndarray:
    """The engine's (N, H, W, C), or (N, features), in float64 as the references lay it out."""
    values = host(array).astype(np.float64)
    return values.transpose(0, 3, 1, 2) if values.ndim == 4 else values


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """In the norm; where the reference is zero throughout, the engine has to be so too."""
    size = np.linalg.norm(expected)
    distance = np.linalg.norm(actual - expected)
    return float(distance / size) if size else float(distance and np.inf)


def outputs_of(net: Any) -> list[np.ndarray]:
    """Every layer's earliness (the readout's potentials) of the last batch, which passes through the network again."""
    outputs: list[np.ndarray] = []

    def record(layer: Any, output: Any) -> None:
        outputs.append(layer.public(host(output)).astype(np.float64))

    net.run(net.last_inputs, watch=record)
    return outputs


def check_forward(
    reference: earliness.Network, encoded: np.ndarray, outputs: Sequence[np.ndarray]
) -> tuple[list[Response], list[Deviation]]:
    """Compares each layer's output with the reference's answer to the engine's output below it.

    Returns the engine's outputs with the reference's drives and weight sums, and the deviations of the spikes.
    """
    responses, deviations = [], []
    inputs = encoded
    for layer, output in zip(reference.layers, outputs, strict=True):
        expected = layer.forward(inputs)
        # a layer of one pixel is (N, features) for the engine
        actual = output.reshape(expected.output.shape)
        if not isinstance(layer, WeightedLayer):
            np.testing.assert_array_equal(actual, expected.output, err_msg=layer.name)
        elif isinstance(layer.neuron, PotentialReadout):
            error = relative_error(actual, expected.output)
            assert error <= RELATIVE_TOLERANCE, f"{layer.name}: potentials deviate by {error:.1e}"
        else:
            assert expected.drive is not None and expected.weight_sum is not None
            window = layer.neuron.t_win
            assert actual.min() >= 0 and actual.max() <= window, f"{layer.name} spikes outside its window"
            # Not a flip at the brink, which the margin would allow, but a spike out of nothing, which counts in the
            # mask of all that it feeds: an image is dark in places, and what is dark stays silent to the last bit.
            silent = np.zeros_like(actual) if layer.potential is None else layer.forward(np.zeros_like(inputs)).output
            assert not actual[np.broadcast_to(~layer.map.reached(inputs) & (silent == 0), actual.shape)].any(), (
                f"{layer.name}: neurons fire although none of their inputs did"
            )
            deviations.append(
                deviation(layer.name, actual, expected.output, expected.drive, expected.weight_sum, layer.neuron)
            )
            deviations[-1].check()
        responses.append(expected._replace(output=actual))
        inputs = actual
    return responses, deviations


def check_gradients(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The relative error of every weight's gradient."""
    assert list(actual) == list(expected)
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    for name, error in errors.items():
        assert error <= RELATIVE_TOLERANCE, f"the gradient of {name} deviates by {error:.1e}"
    return errors


def check(net: Any, layers: Sequence[LayerSpec], images: np.ndarray, labels: np.ndarray, **rule: Any) -> list[Response]:
    """Forward and backward of one batch against the earliness reference with the same weights; rule as for build."""
    reference = earliness.build(layers, net.state_dict(), **rule)
    encoded = net.encode(images)
    potentials = host(net.forward(encoded)).astype(np.float64)
    loss, gradients = net.loss_and_gradients(encoded, labels)
    outputs = outputs_of(net)
    np.testing.assert_array_equal(potentials, outputs[-1], err_msg="forward alone differs from forward in training")

    responses, _ = check_forward(reference, nchw(encoded), outputs)
    expected_loss, expected = reference.backward(nchw(encoded), responses, labels)
    assert abs(loss - expected_loss) <= RELATIVE_TOLERANCE * max(1, expected_loss)
    check_gradients(gradients, expected)
    return responses
