"""Fixtures of the engine's tests."""

import pytest
from helpers.small_network import build

from ttfs_cupy.engine.network import Network


@pytest.fixture
def net() -> Network:
    return build()
