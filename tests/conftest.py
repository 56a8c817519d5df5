"""What holds for all tests: the environment that they run in says nothing of colours."""

import os
from pathlib import Path

import pytest

for name in ("NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, so that whatever is written by default is seen."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
