"""What the tests of recordings share: whether tonic is there."""

import importlib.util
from typing import Any

import pytest


def needs_tonic(ending: str) -> Any:
    """A parameter that is left out where tonic, which is no part of the extra `test`, is not installed."""
    return pytest.param(ending, marks=pytest.mark.skipif(not has_tonic(), reason="tonic is not installed"))


def has_tonic() -> bool:
    return importlib.util.find_spec("tonic") is not None
