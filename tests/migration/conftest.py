"""Fixtures of the tests of migration."""

from pathlib import Path

import pytest
from helpers.configs import MINIMAL


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(MINIMAL)
    return path
