"""Fixtures of the experiments' tests."""

from pathlib import Path

import pytest
from helpers.configs import MINIMAL


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(MINIMAL)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"
