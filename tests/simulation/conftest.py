"""Fixtures of the simulation's tests: small runs on the digits."""

from pathlib import Path

import pytest
from helpers.commands import run_small


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A window that is not 1, a slope between both neurons, and initial potentials: every term of the rule counts."""
    folder = tmp_path_factory.mktemp("simulated") / "run"
    return run_small(folder, network__t_win=2, network__psp_slope=0.7, network__initial_potential=True)
