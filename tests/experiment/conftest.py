"""Fixtures of the experiments' tests."""

from pathlib import Path

import pytest


@pytest.fixture
def minimal(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text("data: {dataset: digits}\ntraining: {epochs: 3, batch_size: 8}\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"
