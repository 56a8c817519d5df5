"""What rounding explains of two outputs of a layer, and what it does not."""

from typing import Any

import numpy as np
import pytest
from helpers.network_kinds import KINDS, images, network
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import CLOSE, Outcomes, _output, compared

NUMBERS = st.floats(-4, 4)


def first(net: Network) -> Weighted:
    layer = net.layers[0]
    assert isinstance(layer, Weighted)
    return layer


@settings(deadline=None)
@given(
    slope=st.floats(0, 1), t_win=st.floats(0.1, 3), a=NUMBERS, s=NUMBERS, more_a=st.floats(0, 2), more_s=st.floats(0, 2)
)
def test_a_spike_comes_no_later_with_more_drive_and_more_weight(
    slope: float, t_win: float, a: float, s: float, more_a: float, more_s: float
) -> None:
    """On that the bounds rest; A and S such that rounding in float64 decides nothing."""
    layer = first(network([{"linear": 3}], psp_slope=slope, t_win=t_win))
    drive, weight_sum = np.array([a, a + more_a, a, a + more_a]), np.array([s, s, s + more_s, s + more_s])
    least, by_drive, by_sum, most = _output(layer, drive, weight_sum)
    slack = 1e-6 * t_win
    assert least <= min(by_drive, by_sum) + slack and max(by_drive, by_sum) <= most + slack
    assert least >= 0 and most <= t_win


def outputs(net: Network, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The code, and what the first layer makes of it, as PyTorch has them."""
    found: list[np.ndarray] = []
    encoded = net.encode(pixels)
    net.run(encoded, watch=lambda layer, output: found.append(layer.public(output).copy()))
    return np.ascontiguousarray(encoded.transpose(0, 3, 1, 2)), found[0]


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_the_engine_s_own_output_needs_no_explanation(options: dict[str, Any]) -> None:
    net = network(**options)
    below, own = outputs(net, images(20))
    assert compared(first(net), net.state_dict(), below, own, own) == Outcomes(own.size)


@pytest.mark.parametrize("options", [each for each in KINDS if each["psp_slope"]], ids=str)
def test_what_is_moved_is_found(options: dict[str, Any]) -> None:
    net = network(**options)
    below, own = outputs(net, images(20))
    other = own.copy()
    spikes = np.argwhere((own > 0.2 * net.t_win) & (own < 0.9 * net.t_win))[::7][:30]
    other[tuple(spikes.T)] += np.float32(3e-3 * net.t_win)
    silent = np.argwhere(own == 0)[::11][:20]
    other[tuple(silent.T)] = 0.3 * net.t_win
    other[tuple(spikes[0])] = np.nan
    found = compared(first(net), net.state_dict(), below, own, other)
    assert len(spikes) > 3 and len(silent) > 3
    assert found == Outcomes(own.size, 0, {first(net).name: len(spikes) + len(silent)})


def test_a_jump_at_the_margin_is_explained_and_beyond_it_is_not() -> None:
    """D is 0: a neuron whose drive is T fires at once, and one whose drive is a little less never does."""
    net = network([{"linear": 1}], psp_slope=1.0)
    state = net.state_dict()
    weights = np.zeros_like(state["linear1.weight"])
    weights[0, :2] = 2, -3
    net.load_state_dict({**state, "linear1.weight": weights})
    below = np.zeros((2, 2, 12, 10), np.float32)
    # A = 2 x0 - 3 x1 = 1 but for rounding, S = -1 and D = 0; and A = 0.9, which no rounding makes 1
    below[0, 0, 0, :2] = 0.95, np.float32(0.3)
    below[1, 0, 0, :2] = 0.9, np.float32(0.3)
    silent, early = np.zeros((2, 1), np.float32), np.ones((2, 1), np.float32)
    found = compared(first(net), net.state_dict(), below, silent, early)
    assert found == Outcomes(2, 1, {"linear1": 1})


def test_pooling_may_differ_in_nothing() -> None:
    net = network(psp_slope=1.0)
    pool = net.layers[1]
    own = np.ones((1, 8, 6, 5), np.float32)
    other = own.copy()
    other[0, 3, 2, 1] += np.float32(CLOSE / 10)
    below = np.ones((1, 8, 12, 10), np.float32)
    assert compared(pool, net.state_dict(), below, own, other) == Outcomes(own.size, 0, {"pool1": 1})
