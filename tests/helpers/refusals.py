"""What holds for whatever refuses: one sentence; of a command also exit code 2, and nothing left behind."""

from pathlib import Path
from typing import Any

import pytest

from helpers.commands import Outcome
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import load_dataset


def refused(outcome: Outcome, *words: str) -> str:
    """The sentence of a command that must have been refused; it says each of the words."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"
    return outcome.err


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: by path, a file's content, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused_dataset(root: Path, *expected: str | Path, name: str, download: bool = False, **options: Any) -> str:
    """The sentence of a load that must fail: one line, which holds every text `expected`."""
    with pytest.raises(UserError) as caught:
        load_dataset(name, root, download, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for text in expected:
        assert str(text) in sentence, sentence
    return sentence
