"""What the tests of recordings share: whether tonic is there, and a refusal."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import load_dataset


def needs_tonic(ending: str) -> Any:
    """A parameter that is left out where tonic, which is no part of the extra `test`, is not installed."""
    return pytest.param(ending, marks=pytest.mark.skipif(not has_tonic(), reason="tonic is not installed"))


def has_tonic() -> bool:
    return importlib.util.find_spec("tonic") is not None


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset("events", root, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence
