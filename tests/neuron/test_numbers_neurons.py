"""The neuron's edge cases, one by one: full connections with weights set so that A and S are exact in float32."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from reference import comparison
from reference.comparison import DEVICE
from reference.specification import read

from ttfs_cupy import models


def one_neuron(weights: Sequence[float], pixels: Sequence[float], **rule: Any) -> tuple[float, np.ndarray]:
    """Earliness of a neuron with those weights over inputs of those pixels, and its weights' gradient."""
    spec = [{"linear": 1}]
    net = models.build(spec, input_shape=(len(weights), 1, 1), classes=2, device=DEVICE, **rule)
    readout = np.array([[1], [0]], np.float32)
    net.load_state_dict({"linear1.weight": np.array([weights], np.float32), "readout.weight": readout})
    images, label = np.array(pixels, np.float32).reshape(1, -1, 1, 1), np.array([1])
    comparison.check(net, read(spec, 2), images, label, **rule)
    _, gradients = net.loss_and_gradients(net.encode(images), label)
    return float(comparison.outputs_of(net)[0][0, 0]), gradients["linear1.weight"][0]


EVERY_SLOPE = (0.0, 0.5, 1.0)
EDGE_CASES = [
    # what it is, slopes, weights, pixels, earliness in windows
    ("no input fired", EVERY_SLOPE, [1, -2], [0, 0], 0),
    ("half the window: A = T/2, S = 0", EVERY_SLOPE, [1, -1], [0.75, 0.25], 1 / 2),
    ("a silent input has no part in S", EVERY_SLOPE, [1, -1, 5], [0.75, 0.25, 0], 1 / 2),
    ("the earliest and the latest inputs", EVERY_SLOPE, [0.5, -0.5], [1, 2**-20], 1 / 2 - 2**-21),
    ("A = T: fires exactly as the window opens", EVERY_SLOPE, [1], [1], 1),
    ("A > T: is above the threshold as it opens", EVERY_SLOPE, [7], [0.5], 1),
    ("A > T although V falls faster than the threshold", EVERY_SLOPE, [3, -5.5], [1, 0.25], 1),
    ("V rises from below zero: A = -T/2, S = 1", (1.0,), [-2, 3], [0.625, 0.25], 1 / 4),
    ("V falls, slower than the threshold: A = 7T/8, S = -3/4", (1.0,), [1.25, -2], [1, 0.1875], 1 / 2),
    ("D = 0, A < T: V runs beside the threshold", (1.0,), [1, -2], [1, 0.25], 0),
    ("D = 0, A < T, at half the slope", (0.5,), [1, -3], [1, 0.125], 0),
    ("D = 0, A = T", (1.0,), [2, -3], [0.875, 0.25], 1),
    ("D < 0, A < 0: their quotient is positive, but V never meets it", (1.0,), [-3], [0.5], 0),
    ("D < 0 < A < T", (1.0,), [1, -3], [1, 0.25], 0),
    ("A + L T S = 0: meets it as the window closes", (0.0,), [1, -1], [0.5, 0.5], 0),
    ("A + L T S = 0, at half the slope", (0.5,), [1, -1.5], [0.625, 0.25], 0),
    ("A + L T S = 0, at the full slope", (1.0,), [1, -1.5], [0.875, 0.25], 0),
    ("A + L T S = T/1024: just before it closes", (1.0,), [1, -1.5], [0.875 + 2**-10, 0.25], 2**-9),
]


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("slope", "weights", "pixels", "earliness"),
    [pytest.param(slope, *rest, id=f"{name}, slope {slope}") for name, slopes, *rest in EDGE_CASES for slope in slopes],
)
def test_edge_case(t_win: float, slope: float, weights: list[float], pixels: list[float], earliness: float) -> None:
    actual, gradient = one_neuron(weights, pixels, t_win=t_win, psp_slope=slope)
    assert actual == earliness * t_win
    # gradient passes strictly inside the window only, and then to every weight of an input that fired
    inside = 0 < earliness < 1
    np.testing.assert_array_equal(gradient != 0, inside & (np.array(pixels) != 0))


@pytest.mark.parametrize("clip", ["gain", "separate", "none"])
def test_the_gradient_of_a_high_gain(clip: str) -> None:
    """A = 7/8, S = -3/4: x = 1/2 with a gain of 4, and dx/dw by hand for each clip mode, grad_clip 1."""
    _, gradient = one_neuron([1.25, -2], [1, 0.1875], clip=clip)
    inputs, earliness = np.array([1, 0.1875]), 0.5
    by_weight = {
        # r (x_j + T - x)
        "none": 4 * (inputs + 1 - earliness),
        "gain": 1 * (inputs + 1 - earliness),
        # dt/dI = 4 becomes 1, dt/dS = -(2 - x) 4 = -6 becomes -1: x_j c_I - (T c_I + c_S), the two nearly cancelling
        "separate": inputs * 1 - (1 - 1),
    }
    potential = earliness + 1
    by_earliness = 1 / (1 + np.exp(-potential))
    np.testing.assert_allclose(gradient, by_earliness * by_weight[clip], rtol=1e-6)


@pytest.mark.parametrize("potential", [0.0, 3.0, 6.0, 12.0, 60.0])
@pytest.mark.parametrize("label", [0, 1])
def test_the_loss_gradient_of_a_confident_answer(potential: float, label: int) -> None:
    """The nearer the softmax is to 1, the more digits share - 1 loses: 5 of 7 at a potential of 12."""
    net = models.build([{"linear": 1}], input_shape=(1, 1, 1), classes=2, device=DEVICE, psp_slope=0)
    readout = np.array([[potential], [0]], np.float32)
    net.load_state_dict({"linear1.weight": np.ones((1, 1), np.float32), "readout.weight": readout})
    image = np.ones((1, 1, 1, 1), np.float32)
    _, gradients = net.loss_and_gradients(net.encode(image), np.array([label]))
    # the share of the class that is wrong
    error = 1 / (1 + np.exp(potential if label == 0 else -potential))
    expected = error * (np.array([[-1], [1]]) if label == 0 else np.array([[1], [-1]]))
    np.testing.assert_allclose(gradients["readout.weight"], expected, rtol=1e-5)


@pytest.mark.parametrize("t_win", [0.7, 1.0, 3.0])
def test_rounding_never_passes_the_window(t_win: float) -> None:
    """A within a few units in the last place of T, and D from 2^-20 to 8: the quotient could round above T.

    At T = 1 and its like it cannot; at the others it does for a few neurons in a thousand, unless guarded.
    """
    rng = np.random.default_rng(0)
    growth = 2 ** rng.uniform(-20, 3, 1 << 16)
    drive = 1 - rng.integers(-1, 8, len(growth)) * 2.0**-24
    # inputs x = (T, T/2): S = v + w and A/T = v + w/2
    second = 2 * (growth - 1 - drive)
    weights = np.stack([growth - 1 - second, second], axis=1).astype(np.float32)
    net = models.build([{"linear": len(weights)}], input_shape=(2, 1, 1), classes=2, device=DEVICE, t_win=t_win)
    net.load_state_dict({"linear1.weight": weights, "readout.weight": np.ones((2, len(weights)), np.float32)})
    net.forward(net.encode(np.array([1, 0.5], np.float32).reshape(1, 2, 1, 1)))
    earliness = comparison.outputs_of(net)[0].astype(np.float32)
    assert np.isfinite(earliness).all() and earliness.min() >= 0 and earliness.max() <= np.float32(t_win)
    assert (earliness == np.float32(t_win)).any() and (earliness < np.float32(t_win)).any()
