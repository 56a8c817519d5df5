"""Fixtures of the engine's tests."""

import pytest
from cuda_stand_in import Machine, device_of
from helpers.small_network import build

from ttfs_cupy.device import Device
from ttfs_cupy.engine.network import Network


@pytest.fixture
def net() -> Network:
    return build()


@pytest.fixture(params=["cpu", "GPU"])
def device(request: pytest.FixtureRequest) -> str | Device:
    """A stand-in for the GPU."""
    return "cpu" if request.param == "cpu" else device_of(Machine())
