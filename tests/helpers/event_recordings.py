"""What the tests of recordings share: whether tonic, which is no part of the extra `test`, is there."""

import importlib.util

import pytest


def has_tonic() -> bool:
    return importlib.util.find_spec("tonic") is not None


needs_tonic = pytest.mark.skipif(not has_tonic(), reason="tonic is not installed")
