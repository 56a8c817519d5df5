"""What deviations are judged by: bounds with two sides, and their quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.simulation.bounds import Between, bounds_of_pooling
from ttfs_cupy.simulation.comparison import LayerComparison
from ttfs_cupy.simulation.time_grid import TimeGrid

GRID = TimeGrid(1.0, 100)


def compared(earliness: list[float], steps: list[int], delay: float) -> LayerComparison:
    """A pooling's neurons: by the closed form, and simulated."""
    comparison = LayerComparison("pool1")
    simulated = np.array(steps, np.int32).reshape(1, 1, 1, -1)
    closed = np.array(earliness, np.float32).reshape(simulated.shape)
    comparison.add_spikes(closed, simulated, GRID, bounds_of_pooling(simulated, GRID, delay), 0)
    return comparison


@pytest.mark.parametrize(
    ("earliness", "delay", "is_explained"),
    [
        (0.5, 0.01, True),
        # simulated late by most of a step
        (0.5095, 0.01, True),
        (0.5105, 0.01, False),
        # simulated early, which no simulated spike is
        (0.4995, 0.01, False),
        (0.4905, 0.01, False),
        # the very spikes
        (0.5, 0.0, True),
        (0.5001, 0.0, False),
        (0.4999, 0.0, False),
    ],
)
def test_a_spike_may_be_late_but_not_early(earliness: float, delay: float, is_explained: bool) -> None:
    comparison = compared([earliness], [50], delay)
    assert comparison.unexplained == int(not is_explained)
    assert (comparison.largest_share <= 1) == is_explained


def test_a_share_is_that_of_the_deviations_own_side() -> None:
    between = Between(np.array([1.0, 1.0, 1.0]), np.array([4.0, 4.0, 4.0]))
    shares = between.share(np.array([-0.5, 2.0, np.nan]))
    np.testing.assert_array_equal(shares, [0.5, 0.5, np.nan])


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=300))
def test_quantiles_of_bounds_are_right_to_their_class(values: list[float]) -> None:
    comparison = LayerComparison("conv1")
    assert comparison.median_bound is None and comparison.p99_bound is None
    for value in values:
        comparison._bounds.add(np.array([value]))
    for found, share in ((comparison.median_bound, 0.5), (comparison.p99_bound, 0.99)):
        wanted = np.quantile(values, share, method="inverted_cdf")
        assert found == pytest.approx(wanted, rel=4e-3)


def test_a_bound_that_is_no_number_is_as_wide_as_any() -> None:
    comparison = LayerComparison("conv1")
    comparison._bounds.add(np.array([1.0, np.nan, np.inf]))
    assert comparison.p99_bound == comparison.median_bound == 2.0**40
