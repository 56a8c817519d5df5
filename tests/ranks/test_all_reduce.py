"""Buckets, and the thread that exchanges them while gradients are still computed."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from helpers.children import answer_of
from helpers.ranks import SECONDS, Meeting, ThreadsWire, in_order, of_each_rank
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy import models
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.ranks.all_reduce import SMALLEST_BYTES, AllReduce, Bucket, HostAllReduce, all_reduce_of, buckets_of
from ttfs_cupy.ranks.group import LostRankError

MEGABYTE = SMALLEST_BYTES // 4
THREE = [Bucket(6, 10, 6), Bucket(2, 6, 2), Bucket(0, 2, 0)]


def test_buckets_of_vgg7_are_few_and_the_last_one_is_small() -> None:
    parameters = models.build("vgg7", (3, 32, 32), 10, "cpu").parameters
    starts = parameters.starts
    buckets = buckets_of(starts.values(), parameters.decayed, parameters.size)
    assert [bucket.first for bucket in buckets] == [
        starts[name] for name in ("conv6", "conv5", "conv4", "conv3", "conv1")
    ]
    assert buckets[-1].bytes < 0.02 * parameters.gradients.nbytes


def test_gradients_of_less_than_a_bucket_travel_at_once() -> None:
    assert buckets_of([0, 100, 200], 300, 300) == [Bucket(0, 300, 0)]


def test_initial_potentials_are_the_last_bucket() -> None:
    assert buckets_of([0, 2 * MEGABYTE], 4 * MEGABYTE, 4 * MEGABYTE + 8) == [
        Bucket(2 * MEGABYTE, 4 * MEGABYTE, 2 * MEGABYTE),
        Bucket(0, 2 * MEGABYTE, 0),
        Bucket(4 * MEGABYTE, 4 * MEGABYTE + 8, 0),
    ]


@given(st.lists(st.integers(1, 3 * MEGABYTE), min_size=1, max_size=30), st.integers(0, 1000))
def test_buckets_hold_each_gradient_once_in_the_order_of_backward(sizes: list[int], potentials: int) -> None:
    starts = [0, *np.cumsum(sizes).tolist()]
    decayed = starts.pop()
    buckets = buckets_of(starts, decayed, decayed + potentials)
    by_place = sorted(buckets, key=lambda bucket: bucket.first)
    assert by_place[0].first == 0
    assert by_place[-1].stop == decayed + potentials
    assert all(below.stop == above.first for below, above in pairwise(by_place))
    assert [bucket.due for bucket in buckets] == sorted((bucket.due for bucket in buckets), reverse=True)
    assert all(bucket.first in starts for bucket in buckets if bucket.stop <= decayed)
    assert all(bucket.bytes >= SMALLEST_BYTES for bucket in buckets if bucket.due)
    assert len(buckets) <= 2 + np.log2(max(1, decayed / MEGABYTE)) + 1


class NotedWire:
    """Doubles what it is given. begun, goes_on: events that the test sets, or waits for. fails: what a call raises."""

    name = "noted"

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.begun, self.goes_on = threading.Event(), threading.Event()
        self.goes_on.set()
        self.fails: Exception | None = None
        self.is_aborted = False
        self.threads: set[int] = set()

    def all_reduce(self, array: np.ndarray) -> None:
        self.begun.set()
        assert self.goes_on.wait(SECONDS)
        self.threads.add(threading.get_ident())
        self.calls.append(array.size)
        if self.fails is not None:
            raise self.fails
        array *= 2

    def abort(self) -> None:
        self.is_aborted = True
        self.goes_on.set()

    def close(self) -> None:
        pass


@pytest.fixture
def wire() -> NotedWire:
    return NotedWire()


@pytest.fixture
def gradients() -> np.ndarray:
    return np.ones(10, np.float32)


def test_a_bucket_is_handed_over_once_it_is_complete(wire: NotedWire, gradients: np.ndarray) -> None:
    with HostAllReduce(wire, gradients, THREE) as exchange:
        exchange.ready(8)
        assert not wire.begun.is_set()
        exchange.ready(6)
        assert wire.begun.wait(SECONDS)
        exchange.finish()
        assert wire.calls == [4, 4, 2]
        assert gradients.tolist() == [2] * 10
        # nothing is left of that step
        exchange.finish()
    assert wire.calls == [4, 4, 2] * 2
    assert len(wire.threads) == 1


def test_gradients_below_are_computed_while_a_bucket_travels(wire: NotedWire, gradients: np.ndarray) -> None:
    wire.goes_on.clear()
    with HostAllReduce(wire, gradients, THREE) as exchange:
        exchange.ready(6)
        assert wire.begun.wait(SECONDS)
        # the call is under way, and goes on only by what follows here
        gradients[:6] = 5
        wire.goes_on.set()
        exchange.finish()
    assert gradients.tolist() == [10] * 6 + [2] * 4


def test_what_the_wire_raises_is_raised_at_the_end_and_the_next_step_begins_anew(
    wire: NotedWire, gradients: np.ndarray
) -> None:
    with HostAllReduce(wire, gradients, THREE) as exchange:
        wire.fails = LostRankError("rank 1 is lost")
        exchange.ready(0)
        with pytest.raises(LostRankError, match="rank 1 is lost"):
            exchange.finish()
        wire.fails = None
        gradients[...] = 1
        exchange.finish()
    assert gradients.tolist() == [2] * 10


def test_an_exchange_that_is_dropped_makes_no_further_call(wire: NotedWire, gradients: np.ndarray) -> None:
    wire.goes_on.clear()
    with HostAllReduce(wire, gradients, THREE) as exchange:
        exchange.ready(0)
        assert wire.begun.wait(SECONDS)
        timer = threading.Timer(0.05, wire.goes_on.set)
        timer.start()
        exchange.drop()
        assert wire.calls == [4]
        gradients[...] = 1
        exchange.finish()
        timer.join()
    assert gradients.tolist() == [2] * 10


def test_an_exception_aborts_the_wire_so_that_the_thread_ends(wire: NotedWire, gradients: np.ndarray) -> None:
    wire.goes_on.clear()
    with pytest.raises(KeyboardInterrupt), HostAllReduce(wire, gradients, THREE) as exchange:
        exchange.ready(6)
        assert wire.begun.wait(SECONDS)
        raise KeyboardInterrupt
    assert wire.is_aborted


def test_what_finish_waited_is_counted(wire: NotedWire, gradients: np.ndarray) -> None:
    wire.goes_on.clear()
    with HostAllReduce(wire, gradients, THREE) as exchange:
        timer = threading.Timer(0.05, wire.goes_on.set)
        timer.start()
        exchange.finish()
        timer.join()
        assert 0 < exchange.waited < SECONDS


def test_a_forked_child_exchanges_in_a_thread_of_its_own(wire: NotedWire, gradients: np.ndarray) -> None:
    with HostAllReduce(wire, gradients, THREE) as exchange:
        exchange.finish()

        def in_child() -> str:
            exchange.finish()
            return str(gradients.tolist())

        assert answer_of(in_child) == str([4.0] * 10)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_all_ranks_get_the_sum_in_the_order_of_ranks(size: int) -> None:
    meeting = Meeting(size)
    given = [np.random.default_rng(rank).standard_normal(2 * MEGABYTE + 9).astype(np.float32) for rank in range(size)]
    expected = in_order(given).tobytes()

    def work(rank: int) -> bytes:
        gradients = given[rank].copy()
        with _exchange(meeting, rank, gradients) as exchange:
            exchange.ready(MEGABYTE)
            exchange.finish()
        return gradients.tobytes()

    assert of_each_rank(size, work) == [expected] * size


def _exchange(meeting: Meeting, rank: int, gradients: np.ndarray) -> AllReduce:
    starts = [0, MEGABYTE]
    return all_reduce_of(CpuDevice(1), ThreadsWire(meeting, rank), gradients, starts, gradients.size - 8)
