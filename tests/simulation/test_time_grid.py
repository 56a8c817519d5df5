"""The grid of time: which step a spike is on, and which time steps there are."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy import UserError
from ttfs_cupy.simulation.time_grid import LAST_INSTANT, MOST_STEPS, NO_SPIKE, TimeGrid, time_grid


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50),
    st.integers(1, 5000),
    st.sampled_from([1.0, 2.0, 0.125, 1e3]),
)
def test_a_spike_is_on_the_first_step_that_is_not_before_it(shares: list[float], window: int, t_win: float) -> None:
    grid = TimeGrid(t_win, window)
    earliness = np.array(shares, np.float32) * np.float32(t_win)
    steps = grid.steps(earliness)
    spiked = earliness != 0
    assert steps.dtype == np.int32 and (steps[~spiked] == NO_SPIKE).all()
    late = grid.times(steps)[spiked] - (t_win - earliness[spiked].astype(np.float64))
    assert (late >= -1e-12 * t_win).all() and (late < grid.dt * (1 + 1e-9)).all()
    assert ((steps[spiked] >= 0) & (steps[spiked] <= window)).all()


@given(st.integers(1, 5000), st.sampled_from([1.0, 2.0, 0.125]))
def test_a_step_and_its_earliness_are_one(window: int, t_win: float) -> None:
    grid = TimeGrid(t_win, window)
    steps = np.arange(-1, window + 1, dtype=np.int32)
    earliness = grid.earliness(steps)
    assert earliness.dtype == np.float32
    # also the last one, whose spike is none too late
    assert ((earliness != 0) == (steps != NO_SPIKE)).all()
    np.testing.assert_allclose(earliness[1:-1], t_win - grid.times(steps)[1:-1], rtol=1e-6)
    assert earliness[-1] == np.float32(t_win * LAST_INSTANT)
    assert np.isinf(grid.times(steps)[0])


@pytest.mark.parametrize(
    ("t_win", "dt", "window"),
    [
        (1, 1e-3, 1000),
        (1, 1e-4, 10000),
        (2, 1e-2, 200),
        (1, 1, 1),
        (1, 1 / 3, 3),
        (1, 0.333333, 3),
        (1, 1e-6, MOST_STEPS),
    ],
)
def test_a_time_step_divides_its_window(t_win: float, dt: float, window: int) -> None:
    grid = time_grid(t_win, dt)
    assert grid == TimeGrid(t_win, window) and grid.dt == t_win / window


@pytest.mark.parametrize(
    ("t_win", "dt", "sentence"),
    [
        (1, 0.3, "--dt must divide the window of 1, and 0.3 does not: 0.333 does, with 3 steps, as do 0.25 and 0.5"),
        (1, 0, "--dt must be a number from 1e-6 to 1, not 0"),
        (1, -1e-3, "--dt must be a number from 1e-6 to 1, not -0.001"),
        (2, 2.5, "--dt must be a number from 2e-6 to 2, not 2.5"),
        (1, 1e-9, "--dt must be a number from 1e-6 to 1, not 1e-09"),
        (1, float("nan"), "--dt must be a number from 1e-6 to 1, not nan"),
        (1, float("inf"), "--dt must be a number from 1e-6 to 1, not inf"),
        (1, "short", "--dt must be a number from 1e-6 to 1, not 'short'"),
    ],
)
def test_what_is_no_time_step_is_one_sentence(t_win: float, dt: object, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}"):
        time_grid(t_win, dt)
