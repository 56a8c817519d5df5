"""Scratch memory grows with the workers only as far as there is work for them, and suffices for those that get some."""

from collections.abc import Callable

import numpy as np
import pytest
from helpers.any_threads import AnyThreads
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.engine.network import Network


class Spread(AnyThreads):
    """Hands each task to another worker, so that the last of them gets one, too."""

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        for task in range(tasks):
            body(task, task % self.workers)


def network(device: CpuDevice, convolution: str, size: int, channels: int) -> Network:
    return models.build([channels, "P", 2 * channels], (3, size, size), 5, device, convolution=convolution)


@settings(max_examples=25, deadline=None)
@given(
    convolution=st.sampled_from(["gemm", "winograd"]),
    size=st.integers(4, 40),
    channels=st.sampled_from([3, 16, 40]),
    images=st.integers(1, 12),
    planned=st.integers(0, 8),
)
def test_every_worker_has_room(convolution: str, size: int, channels: int, images: int, planned: int) -> None:
    pixels = np.random.default_rng(size).random((images, 3, size, size), np.float32)
    labels = np.arange(images) % 5
    results = []
    for device in (Spread(1000), CpuDevice(1)):
        net = network(device, convolution, size, channels)
        # also where more images are planned than come
        net.plan(images + planned, training=True)
        results.append(net.loss_and_gradients(net.encode(pixels), labels))
    (loss, gradients), (other_loss, other_gradients) = results
    assert loss == other_loss
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, other_gradients[name])


@pytest.mark.parametrize("kind", [Gemm, Winograd])
@pytest.mark.parametrize("which", ["forward", "data_gradient", "weight_gradient"])
def test_threads_beyond_the_work_take_nothing(kind: type[Gemm] | type[Winograd], which: str) -> None:
    shape = ConvolutionShape((16, 16), 32, 32, (3, 3), (1, 1), (1, 1))
    many, more = (kind(AnyThreads(count), shape).workspace(4, which) for count in (10**4, 10**6))
    assert many == more


def test_the_advice_about_the_batch_is_right_whatever_threads_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(AnyThreads(10**6), "gemm", 32, 16)
    monkeypatch.setattr(CpuDevice, "free_bytes", lambda self: 64 << 20)
    net.plan(4, training=True)
    with pytest.raises(UserError, match="the largest batch that fits is") as caught:
        net.plan(10**4, training=True)
    assert int(str(caught.value).rsplit(" ", 1)[1]) >= 4
