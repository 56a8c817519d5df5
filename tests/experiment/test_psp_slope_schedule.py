"""psp_slope over a run, as a config says it."""

import math
from pathlib import Path
from typing import Any

import pytest
from helpers.configs import mistake

from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config.values import PspSlopeSchedule


def schedule(**changes: Any) -> PspSlopeSchedule:
    return PspSlopeSchedule.model_validate({"from": 0, "to": 1, "start": 0.2, "end": 0.7} | changes)


@pytest.mark.parametrize(
    ("progress", "slope"), [(0, 0), (0.2, 0), (0.325, 0.25), (0.45, 0.5), (0.6, 0.8), (0.7, 1), (0.9, 1), (1, 1)]
)
def test_the_slope_rises_linearly(progress: float, slope: float) -> None:
    assert math.isclose(schedule().at(progress), slope, abs_tol=1e-12)
    assert math.isclose(schedule(**{"from": 1, "to": 0.5}).at(progress), 1 - slope / 2, abs_tol=1e-12)


def test_the_slope_may_jump() -> None:
    jump = schedule(start=0.5, end=0.5)
    assert [jump.at(progress) for progress in (0.0, 0.499, 0.5, 1.0)] == [0, 0, 1, 1]


def test_the_slope_rises_over_the_whole_run_by_default() -> None:
    assert PspSlopeSchedule.model_validate({"from": 0, "to": 1}).at(0.25) == 0.25


def test_a_schedule_in_a_config(minimal: Path) -> None:
    slope = load_config(minimal, ["network.psp_slope={from: 0, to: 1, start: 0.2, end: 0.7}"]).network.psp_slope
    assert slope == schedule()


@pytest.mark.parametrize("key", ["from", "to", "start", "end"])
def test_a_schedule_takes_shares(minimal: Path, key: str) -> None:
    for value in ("-0.1", "1.1", "ten", "true", ".nan", "null"):
        message = mistake(minimal, "network.psp_slope={from: 0, to: 1}", f"network.psp_slope.{key}={value}")
        assert f" network.psp_slope.{key} must be a number from 0 to 1, not " in message


@pytest.mark.parametrize("key", ["from", "to"])
def test_a_schedule_needs_both_ends(minimal: Path, key: str) -> None:
    other = {"from": "to", "to": "from"}[key]
    assert f" network.psp_slope.{key} is missing" in mistake(minimal, f"network.psp_slope={{{other}: 0.5}}")
