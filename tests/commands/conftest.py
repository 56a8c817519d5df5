"""Fixtures of the commands' tests."""

from pathlib import Path

import pytest
from helpers.commands import run_small


@pytest.fixture(scope="module")
def good_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("good") / "run", training__epochs=1)


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("short") / "run")
