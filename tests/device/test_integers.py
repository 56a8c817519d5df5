"""Kernels count in 32 bits: at the limit no index overflows, and beyond it one check refuses. Without the memory."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from emulator import Emulator, why_not
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tiles import Sliding
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.gpu_limits import of_capability
from ttfs_cupy.device.launcher import MAX_ELEMENTS, count_trouble
from ttfs_cupy.engine.plan import Plan, stages_of

# The kernels' own functions, called with places near the end of the arrays.
INDICES = {
    "tensorcore_data_gradient 128x128 2x3": """
KERNEL void last_offset(long long* __restrict__ found, int image, int height, int width, int channels) {
    const Sliding of = {height, width, channels, 3, 3, 1, 1, 1, 1, 1, 1, height, width, false, true};
    found[0] = offset_in_images(of, image, height - 1, width - 1);
}
""",
    "tensorcore_weight_gradient 64x64 3x9": """
KERNEL void last_offset(long long* __restrict__ found, int image, int height, int width, int channels) {
    Spikes of = {};
    unsigned char none = 0;
    of.winner = &none, of.height = height, of.width = width, of.channels = channels;
    found[0] = neuron_offset(of, 0, image, height - 1, width - 1);
}
""",
}


def last_offset(kernel: str, images: int, size: tuple[int, int], channels: int) -> int:
    """What a kernel takes for the place of the last pixel's neurons, of windows of a joined pooling."""
    variant = variants()[kernel]
    file = source.kernels(source.COOPERATIVE)[variant.kernel].file
    emulator = Emulator(source.cooperative_text(file) + INDICES[kernel], constants=dict(variant.constants))
    found = np.zeros(1, np.int64)
    emulator.launch("last_offset", 1, 32, 0, found, images - 1, *size, channels)
    return int(found[0])


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("kernel", INDICES)
def test_places_of_joined_pooling_at_the_limit(kernel: str) -> None:
    """Tables hold 4 times a window's place: what the neurons before pooling would take, in arrays of a quarter."""
    size, channels = (32, 32), 128
    shape = ConvolutionShape(size, 128, channels, (3, 3), padding=(1, 1))
    most = MAX_ELEMENTS // shape.reach(1)
    # the last window's first channel, times 4, and place 3 of it
    wanted = 4 * (most * 16 * 16 - 1) * channels + 3
    assert last_offset(kernel, most, size, channels) == wanted
    assert wanted + 4 * channels < 2**31
    # and this is what the check is for: 2^31 neurons in arrays of 2^29
    beyond = 2**31 // shape.reach(1) + 1
    assert last_offset(kernel, beyond, size, channels) != 4 * (beyond * 16 * 16 - 1) * channels + 3
    assert count_trouble("it", beyond * 16 * 16 * channels) is None and count_trouble("it", shape.reach(beyond))


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 300),
    st.integers(1, 300),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.data(),
)
@settings(deadline=None)
def test_whatever_a_kernel_counts_is_within_reach(
    size: tuple[int, int],
    inner: int,
    outer: int,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    data: st.DataObject,
) -> None:
    """At the largest batch that is not refused: elements, pixels, lines of the halo, blocks."""
    size = (max(size[0], kernel[0]), max(size[1], kernel[1]))
    padding = (data.draw(st.integers(0, kernel[0] - 1)), data.draw(st.integers(0, kernel[1] - 1)))
    shape = ConvolutionShape(size, inner, outer, kernel, stride, padding)
    images = MAX_ELEMENTS // shape.reach(1)
    for sliding in (Sliding.forward(shape), Sliding.backward(shape)):
        halo_height = (sliding.out_size[0] - 1) * sliding.stride[0] + sliding.kernel[0]
        assert images * halo_height < 2**31
        assert sliding.pixels(images) <= MAX_ELEMENTS
    assert images * shape.in_pixels * inner <= MAX_ELEMENTS
    assert images * shape.out_pixels * outer <= MAX_ELEMENTS


class EnoughError(Exception):
    """Memory would be taken now."""


def device_that_is_large() -> Any:
    def empty(*_: Any) -> None:
        raise EnoughError

    return SimpleNamespace(name="large", free_bytes=lambda: 1 << 60, xp=SimpleNamespace(empty=empty))


def test_a_batch_beyond_the_count_is_refused_in_a_sentence() -> None:
    """vgg11's first layers have 131,072 neurons an image."""
    net = models.build("vgg11", (3, 32, 32), 10, "cpu")
    most = MAX_ELEMENTS // (32 * 32 * 128)
    with pytest.raises(EnoughError):
        Plan(stages_of(net.layers), most, training=True).allocate(device_that_is_large())
    sentence = (
        rf"a batch of {most + 1}, layer conv1: \d+ elements at once are above {MAX_ELEMENTS}; use a smaller batch"
    )
    with pytest.raises(UserError, match=sentence):
        Plan(stages_of(net.layers), most + 1, training=True).allocate(device_that_is_large())


def test_joined_pooling_does_not_hide_neurons() -> None:
    """Arrays of a quarter fit, and the neurons that fill them do not."""
    net = models.build([64, "P"], (64, 64, 64), 10, "cpu", convolution="winograd")
    (stage, *_) = stages_of(net.layers)
    assert stage.pool is not None
    images = MAX_ELEMENTS // (64 * 64 * 64) + 1
    assert count_trouble("it", images * int(np.prod(stage.out_shape))) is None
    with pytest.raises(UserError, match=r"layer conv1: .* use a smaller batch"):
        Plan(stages_of(net.layers), images, training=False).allocate(device_that_is_large())


@pytest.mark.parametrize("capability", [(8, 0), (9, 0), (12, 0)])
def test_launches_at_the_limit(capability: tuple[int, int]) -> None:
    """Blocks, and the floats of their partial sums, of the largest batch of a layer of vgg11."""
    device: Any = SimpleNamespace(
        gpu=of_capability(capability, 132), registers=lambda _: 200, xp=np, name="gpu", compile_ahead=lambda _: None
    )
    shape = ConvolutionShape((32, 32), 128, 128, (3, 3), padding=(1, 1))
    images = MAX_ELEMENTS // shape.reach(1)
    algorithm = TensorCore(device, shape)
    launches = [
        algorithm._forward_launch(Sliding.forward(shape), images, 1),
        algorithm._gradient_launch(Sliding.backward(shape), images, (("FIRES", 1), ("POOLED", 0), ("SEPARATE", 0))),
        algorithm._sum_launch(images),
    ]
    assert all(0 < launch.blocks < 2**31 and launch.parts_size <= MAX_ELEMENTS for launch in launches)
