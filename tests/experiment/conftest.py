"""Fixtures of the experiments' tests."""

from pathlib import Path

import pytest
from helpers.changing_run import CHANGING
from helpers.commands import run_small
from helpers.configs import MINIMAL


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


@pytest.fixture(scope="module")
def whole_changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **CHANGING)
