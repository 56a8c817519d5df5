"""Whether what was drawn follows a law, by chi-square: refused below a probability that fixed seeds stay above."""

import math
from typing import Any

import numpy as np
from scipy import stats

# Of some dozens of tests, chance alone refuses none
LEAST = 1e-4


def is_uniform(*columns: np.ndarray, sizes: tuple[int, ...]) -> bool:
    """Whether whole numbers from 0 are uniform, each below its size, and independent of one another."""
    cells = np.ravel_multi_index(columns, sizes)
    counts = np.bincount(cells, minlength=math.prod(sizes))
    assert len(cells) >= 5 * len(counts)
    return bool(stats.chisquare(counts).pvalue > LEAST)


def follows(outcomes: list[Any], law: dict[Any, float]) -> bool:
    """Whether outcomes are as often as the law says, and none is one that it has not."""
    found: dict[Any, int] = {}
    for outcome in outcomes:
        found[outcome] = found.get(outcome, 0) + 1
    possible = {outcome: chance for outcome, chance in law.items() if chance > 0}
    assert math.isclose(sum(possible.values()), 1, rel_tol=1e-6) and min(possible.values()) * len(outcomes) >= 5
    if not found.keys() <= possible.keys():
        return False
    counts = np.array([found.get(outcome, 0) for outcome in possible])
    expected = np.array([*possible.values()])
    return bool(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > LEAST)
