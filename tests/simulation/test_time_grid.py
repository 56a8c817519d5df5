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
        (1, 0.3, "--dt must divide the window of 1, and 0.3 does not: 0.3333 does, with 3 steps, as do 0.25 and 0.5"),
        (
            1,
            0.333,
            "--dt must divide the window of 1, and 0.333 does not: 0.3333 does, with 3 steps, as do 0.25 and 0.5",
        ),
        (1, 0.9, "--dt must divide the window of 1, and 0.9 does not: 1 does, with 1 step, as does 0.5"),
        (1, 0.70001, "--dt must divide the window of 1, and 0.70001 does not: 1 does, with 1 step, as does 0.5"),
        (1, 0.00011, "--dt must divide the window of 1, and 0.00011 does not: 0.0001099989 does, with 9091 steps"),
        (1.2345, 2, "--dt must be a number from 1.2345e-6 to 1.2345, not 2"),
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


def test_a_sentence_names_the_option() -> None:
    with pytest.raises(UserError, match=r"^--convergence must be a number from 1e-6 to 1, not nan$"):
        time_grid(1, float("nan"), "--convergence")
    with pytest.raises(UserError, match=r"^--convergence must divide the window"):
        time_grid(1, 0.3, "--convergence")


@given(
    st.one_of(st.sampled_from([1.0, 2.0, 0.125, 1e3, 0.1, 3.0]), st.floats(1e-3, 1e3)),
    st.one_of(st.floats(1e-6, 1), st.floats(0.1, 1), st.floats(1, 1e6).map(lambda steps: min(1.0, 1 / steps))),
)
def test_what_is_suggested_is_taken(t_win: float, share: float) -> None:
    try:
        time_grid(t_win, share * t_win)
    except UserError as error:
        if (bounds := re.search(r"must be a number from (\S+) to (\S+), not ", str(error))) is not None:
            assert time_grid(t_win, float(bounds[1])).window == MOST_STEPS
            assert time_grid(t_win, float(bounds[2])).window == 1
            return
        found = re.search(r" does not: (\S+) does, with (\d+) steps?, as do(?:es)? (\S+)(?: and (\S+))?$", str(error))
        assert found is not None, str(error)
        window = int(found[2])
        steps = [float(text) for text in (found[1], found[3], found[4]) if text is not None]
        windows = [time_grid(t_win, step).window for step in steps]
        assert windows[0] == window and len({*windows}) == len(windows) >= 2
        assert all(abs(other - window) <= 1 for other in windows)
