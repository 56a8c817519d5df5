"""Fixtures of the check's tests."""

import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cuda_stand_in import Stream
from helpers.kept_notes import Kept


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Makes a tool of that name, in Python, and puts it first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def make(name: str, code: str) -> None:
        (folder / name).write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{code}\n")
        (folder / name).chmod(0o755 | stat.S_IXUSR)

    return make


@pytest.fixture
def lossy_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of recorded work, the last launch is lost."""
    real = Stream.end_capture

    def lossy(self: Stream) -> Any:
        graph = real(self)
        graph.nodes.pop()
        return graph

    monkeypatch.setattr(Stream, "end_capture", lossy)
