"""What a network decides and since when, beside exact fractions and float64."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from reference.comparison import DEVICE, host, outputs_of
from reference.specification import random_images

from ttfs_cupy import UserError, build
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.trained.decision import crossings, decide, decisions, drives_of, readout_window, spike_moments

SHAPE, CLASSES = (2, 8, 6), 5
SPEC: list[Any] = [6, "P", 7, {"linear": 20}]
RULES: list[dict[str, Any]] = [
    {},
    {"psp_slope": 0.3},
    {"psp_slope": 0.0},
    {"t_win": 0.25},
    {"encoding": "direct", "mean": np.array([0.4, 0.5]), "std": np.array([0.2, 0.3])},
    {"initial_potential": True, "normalization": "weight", "t_win": 3.0},
]


def net_of(spec: list[Any] = SPEC, **rule: Any) -> Network:
    net = build(spec, SHAPE, CLASSES, DEVICE, seed=3, **rule)
    if rule.get("initial_potential"):
        # from the 0 that they begin with
        for layer in net.layers:
            if isinstance(layer, Weighted) and layer.potential is not None:
                layer.potential[...] = net.device.to_device(
                    np.linspace(-0.3, 0.4, layer.shape.out_channels, dtype="f4")
                )
    return net


def images(count: int) -> np.ndarray:
    return random_images(count, SHAPE, 5).astype(np.float32)


# Lines that cross


def exactly(drives: list[Fraction], readouts: list[Fraction]) -> Fraction:
    """The earliest moment from which on the winner is never below another, by trying all that it could be."""
    winner = readouts.index(max(readouts))

    def leads(moment: Fraction) -> bool:
        values = [a + (m - a) * moment for a, m in zip(drives, readouts, strict=True)]
        return values[winner] == max(values)

    meetings = {Fraction(0), Fraction(1)}
    for a, m in zip(drives, readouts, strict=True):
        faster = (readouts[winner] - drives[winner]) - (m - a)
        if faster != 0 and 0 <= (moment := (a - drives[winner]) / faster) <= 1:
            meetings.add(moment)
    found = Fraction(1)
    # from the end backwards: a line that is no longer above stays so until the next meeting
    for earlier, later in zip(sorted(meetings)[-2::-1], sorted(meetings)[:0:-1], strict=True):
        if not (leads((earlier + later) / 2) and leads(earlier)):
            break
        found = earlier
    return found


# whole numbers, which give many ties, and any others
NUMBERS = st.integers(-3, 3).map(float) | st.floats(-100, 100, width=32)


@given(st.data())
def test_a_crossing_is_what_exact_fractions_say(data: st.DataObject) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=6))
    drives, readouts = (data.draw(arrays(np.float32, shape, elements=NUMBERS)) for _ in range(2))
    found = crossings(drives, readouts)
    for row, moment in enumerate(found):
        lines = [[Fraction(float(value)) for value in values[row]] for values in (drives, readouts)]
        assert moment == pytest.approx(float(exactly(*lines)), rel=1e-12, abs=1e-300)


def test_moments_by_hand() -> None:
    # the first class wins: ahead throughout; behind until the middle; level at the very end alone; by two overtakings
    drives = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 3]], np.float32)
    readouts = np.array([[2, 1, 0], [1, 0, 0], [1, 1, 1], [4, 3, 3]], np.float32)
    assert crossings(drives, readouts).tolist() == [0, 0.5, 1, 0.75]
    # earliness of a half, of the whole window, and of nobody
    assert spike_moments(np.array([[0, 0.25, 0], [0.5, 0, 0.5], [0, 0, 0]], np.float32), 0.5).tolist() == [0.5, 0, 1]


# Networks


def tell_apart(net: Network, inputs: Any) -> None:
    """Takes from the readout's weights what all images have in common, which drawn weights see alone."""
    readout = net.layers[-1]
    assert isinstance(readout, Weighted)
    net.run(inputs)
    common = host(net.readout_inputs).astype(np.float64).mean(axis=0).reshape(-1, 1)
    weights = host(readout.weights).reshape(-1, CLASSES)
    weights = weights - common @ (common.T @ weights) / (common**2).sum()
    readout.weights[...] = net.device.to_device(weights.astype(np.float32).reshape(readout.weights.shape))


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_winner_overtakes_the_others_when_it_is_said_to(rule: dict[str, Any]) -> None:
    net, pixels = net_of(**rule), images(600)
    inputs = net.encode(pixels)
    tell_apart(net, inputs)
    found = decide(net, inputs)
    below: list[np.ndarray] = []
    net.run(inputs, watch=lambda layer, output: below.append(host(output).astype(np.float64)))
    readout = net.layers[-1]
    assert isinstance(readout, Weighted)
    given_, weights = below[-2].reshape(len(pixels), -1), host(readout.weights).astype(np.float64).reshape(-1, CLASSES)
    potential = 0 if readout.potential is None else net.t_win * host(readout.potential).astype(np.float64)
    drive, weight_sum = given_ @ weights + potential, (given_ != 0) @ weights
    begin = readout_window(net)
    moments = found.times.astype(np.float64) - begin
    assert ((moments >= 0) & (moments <= 1)).all()

    def lead(share: np.ndarray) -> np.ndarray:
        """Of the winner over the best other, which is 0 as it overtakes."""
        values = drive + net.psp_slope * weight_sum * (share * net.t_win)[:, np.newaxis]
        rows = np.arange(len(values))
        winners = values[rows, found.classes].copy()
        values[rows, found.classes] = -np.inf
        lead_: np.ndarray = winners - values.max(axis=1)
        return lead_

    scale = 1e-5 * np.abs(drive).max()
    overtakes = moments > 0
    assert np.abs(lead(moments)[overtakes]).max(initial=0) < scale
    assert (lead(moments) > -scale).all()
    for later in (0.25, 0.5, 1.0):
        assert (lead(moments + later * (1 - moments)) > -scale).all()
    assert np.allclose(lead(np.ones(len(pixels))), found.margins, atol=scale)
    if net.psp_slope == 0:
        assert not overtakes.any()
    else:
        # else nothing was looked at
        assert overtakes.sum() > 5


@pytest.mark.parametrize("rule", [{}, {"t_win": 4.0}, {"psp_slope": 0.0}], ids=str)
def test_a_readout_that_fires_decides_as_the_winner_spikes(rule: dict[str, Any]) -> None:
    net = net_of(readout="spike_times", **rule)
    found = decide(net, net.encode(images(64)))
    first = net.spike_times()["readout"].min(axis=1) / np.float64(net.t_win)
    assert np.isfinite(first).any()
    assert np.allclose(found.times, 4 + np.minimum(first, 1), atol=1e-6)


def test_where_no_class_fires_the_answer_stands_as_the_window_ends() -> None:
    net = net_of(readout="spike_times")
    found = decide(net, net.encode(np.zeros((2, *SHAPE))))
    assert (found.classes.tolist(), found.margins.tolist(), found.times.tolist()) == ([0, 0], [0, 0], [5, 5])


@pytest.mark.parametrize(
    ("spec", "encoding", "before"),
    [(["P"], None, 1), ([4], None, 2), ([4], "direct", 1), ([4, "P", "P", 5, {"linear": 3}], None, 4)],
    ids=str,
)
def test_each_layer_with_weights_has_a_window(spec: list[Any], encoding: str | None, before: int) -> None:
    net = net_of(spec, encoding=encoding)
    assert readout_window(net) == before


def test_the_inputs_of_the_readout_are_those_of_the_last_run() -> None:
    net = net_of(["P"])
    with pytest.raises(ValueError, match="there has been none"):
        _ = net.readout_inputs
    inputs = net.encode(images(3))
    net.run(inputs)
    assert np.array_equal(host(net.readout_inputs), pooled(host(inputs)))
    net.run(inputs[:1])
    assert len(net.readout_inputs) == 1


def pooled(earliness: np.ndarray) -> np.ndarray:
    count, height, width, channels = earliness.shape
    windows: np.ndarray = earliness.reshape(count, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    return windows


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_decision_does_not_depend_on_the_batch(rule: dict[str, Any]) -> None:
    if DEVICE != "cpu":
        pytest.skip("a GPU's library chooses its products by the batch size")
    net, pixels = net_of(**rule), images(33)
    together = decide(net, net.encode(pixels))
    for index in (0, 17, 32):
        alone = decide(net, net.encode(pixels[index : index + 1]))
        for name in ("classes", "readouts", "margins", "times"):
            assert getattr(alone, name).tobytes() == getattr(together, name)[index : index + 1].tobytes()


def test_a_decision_leaves_the_network_as_it_was() -> None:
    net, pixels = net_of(), images(8)
    expected, outputs = net.forward(net.encode(pixels)), outputs_of(net)
    decide(net, net.encode(pixels))
    assert net.psp_slope == 1
    assert all(np.array_equal(one, other) for one, other in zip(outputs_of(net), outputs, strict=True))
    assert np.array_equal(host(net.forward(net.encode(pixels))), host(expected))


def test_a_margin_is_within_float32() -> None:
    net = net_of()
    readouts = np.array([[3e38, -3e38, -3e38, -3e38, -3e38], [1, 3, 2.5, 0, 0]], np.float32)
    assert decisions(net, readouts, readouts).margins.tolist() == [np.finfo(np.float32).max, 0.5]


def test_at_slope_0_nothing_is_computed_again() -> None:
    net = net_of(psp_slope=0.0)
    inputs = net.encode(images(8))
    readouts = net.device.to_host(net.run(inputs))
    assert drives_of(net, readouts) is readouts
    assert decide(net, inputs).times.tolist() == [4] * 8


def test_decisions_are_compared_as_a_whole() -> None:
    net = net_of()
    inputs = net.encode(images(3))
    found, other = decide(net, inputs), decide(net, inputs)
    assert found == found and found != other and len({found, other}) == 2


def test_a_readout_beyond_float32_is_told() -> None:
    net = net_of()
    for layer in net.layers:
        if isinstance(layer, Weighted):
            layer.weights[...] = 3e38
    with pytest.raises(UserError, match="beyond float32"):
        decide(net, net.encode(np.ones((1, *SHAPE))))
