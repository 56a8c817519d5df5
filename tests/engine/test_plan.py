"""The plan: arrays share memory only when their lifetimes do not meet, and nothing is allocated after it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.engine.arena import Arena, Slot
from ttfs_cupy.engine.layers import MaxPool
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.plan import Plan, stages_of

lives = st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted)


def meet(slot: Slot, other: Slot) -> bool:
    """Whether both live at some moment."""
    return slot.first <= other.last and other.first <= slot.last


def lowest_gap(slot: Slot, placed: list[Slot]) -> int:
    """The smallest of all places where the slot meets nobody."""
    others = [other for other in placed if meet(slot, other)]
    free = [
        offset
        for offset in [0, *(other.offset + other.bytes for other in others)]
        if all(offset + slot.bytes <= o.offset or o.offset + o.bytes <= offset for o in others)
    ]
    return min(free)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 5000), lives), max_size=30))
def test_the_largest_comes_first_into_the_lowest_gap(wanted: list) -> None:
    arena = Arena()
    slots = [arena.reserve((size,), first, last) for size, (first, last) in wanted]
    assert arena.bytes == max((slot.offset + slot.bytes for slot in slots), default=0)
    by_size = sorted(slots, key=lambda slot: -slot.bytes)
    for count, slot in enumerate(by_size):
        assert slot.offset == lowest_gap(slot, by_size[:count])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5000), lives, st.sampled_from([np.float32, np.uint8])), max_size=20))
def test_arrays_that_live_together_never_overlap(wanted: list) -> None:
    arena = Arena()
    slots = [arena.reserve((size,), first, last, dtype) for size, (first, last), dtype in wanted]
    arena.allocate(np.zeros(arena.bytes, np.uint8))
    for number, slot in enumerate(slots):
        slot.array[...] = number
        for other_number, other in enumerate(slots):
            if other_number != number and meet(slot, other):
                assert not np.shares_memory(slot.array, other.array)
    together = [sum(s.bytes for s in slots if s.first <= moment <= s.last) for moment in range(10)]
    assert max(together, default=0) <= arena.bytes <= sum(slot.bytes for slot in slots)


def test_an_arena_shares_memory_over_time() -> None:
    arena = Arena()
    for moment in range(10):
        arena.reserve((1000,), moment, moment + 1)
    assert arena.bytes == 2 * 4096


def net_of_every_kind() -> Network:
    spec = [16, 20, "P", {"convolution": 9, "kernel": 2, "stride": 2}, {"pool": 2, "stride": 1}, {"linear": 11}]
    return models.build(spec, (3, 14, 14), 10, "cpu")


def test_inference_takes_little_more_than_two_layers() -> None:
    net = models.build("vgg11", (3, 32, 32), 10, "cpu")
    stages, batch = stages_of(net.layers), 128
    plan = Plan(stages, batch, training=False)
    outputs = [4 * batch * layer.neurons for layer in net.layers]
    workspace = max(4 * stage.workspace(batch, "forward") for stage in stages)
    assert plan.bytes <= outputs[0] + outputs[1] + workspace
    assert plan.bytes < Plan(stages, batch, training=True).bytes / 2


def test_pooling_is_joined_where_it_can_be() -> None:
    joined = [[layer.name for layer in stage.layers] for stage in stages_of(net_of_every_kind().layers)]
    assert joined == [["conv1"], ["conv2", "pool1"], ["conv3"], ["pool2"], ["linear1"], ["readout"]]
    apart = models.build([16, 20, "P"], (3, 14, 14), 10, "cpu", convolution={"conv2": "winograd/gemm/winograd"})
    assert all(stage.pool is None for stage in stages_of(apart.layers))


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [12, 14, 15])
def test_joined_pooling_gives_the_same_bits(slope: float, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).random((5, 16, size, size), np.float32)
    images[images < 0.4] = 0
    results = []
    for joins, stages in ((True, 3), (False, 5)):
        monkeypatch.setattr(MaxPool, "can_be_joined", joins)
        net = models.build([24, "P", 17, "P"], (16, size, size), 10, "cpu", psp_slope=slope, convolution="winograd")
        assert len(stages_of(net.layers)) == stages
        results.append((net.loss_and_gradients(net.encode(images), np.arange(5)), net.spike_times()))
    ((loss, gradients), times), ((other_loss, other_gradients), other_times) = results
    assert loss == other_loss
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, other_gradients[name])
    for name, layer_times in times.items():
        np.testing.assert_array_equal(layer_times, other_times[name])


def test_a_batch_beyond_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of_every_kind()
    needed = Plan(stages_of(net.layers), 20, training=True).bytes
    monkeypatch.setattr(CpuDevice, "free_bytes", lambda self: needed)
    with pytest.raises(UserError) as caught:
        net.plan(1000, training=True)
    message = str(caught.value)
    assert "a batch of 1000 needs" in message and "MiB are free" in message
    largest = int(message.rsplit(" ", 1)[1])
    assert 20 <= largest < 30
    net.plan(largest, training=True)
    monkeypatch.setattr(CpuDevice, "free_bytes", lambda self: 1000)
    with pytest.raises(UserError, match="not even one image fits"):
        models.build([8], (3, 8, 8), 10, "cpu").plan(4)


def test_the_summary_tells_the_bytes() -> None:
    net = net_of_every_kind()
    assert "bytes" not in net.summary()
    net.plan(8, training=True)
    size = Plan(stages_of(net.layers), 8, training=True).bytes
    assert f"{size:,} bytes in one arena, for training with batches of up to 8" in net.summary()
