"""Gradients over sockets: what is added, and what becomes of the others where one rank is gone."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np
import pytest
from helpers.children import answer_of
from helpers.ranks import OneOf, in_order, of_each_rank

from ttfs_cupy.ranks.group import LostRankError
from ttfs_cupy.ranks.wires.sockets import PIECE, SocketsWire


def _pair(*, local: bool) -> tuple[Connection, Connection]:
    if local:
        ends = socket.socketpair()
        return Connection(ends[0].detach()), Connection(ends[1].detach())
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return Connection(near.detach()), Connection(far.detach())


@contextmanager
def wires(size: int, *, local: bool = False) -> Iterator[list[SocketsWire]]:
    pairs = [_pair(local=local) for _ in range(size - 1)]
    hub = SocketsWire(OneOf(0, size, {rank: near for rank, (near, _) in enumerate(pairs, start=1)}))
    made = [hub, *(SocketsWire(OneOf(rank, size, {0: far})) for rank, (_, far) in enumerate(pairs, start=1))]
    try:
        yield made
    finally:
        for wire in made:
            wire.close()


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("count", [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_all_ranks_get_the_sum_in_the_order_of_ranks(size: int, count: int, local: bool) -> None:
    given = [np.random.default_rng(rank).standard_normal(count).astype(np.float32) for rank in range(size)]
    with wires(size, local=local) as made:

        def work(rank: int) -> bytes:
            array = given[rank].copy()
            made[rank].all_reduce(array)
            # a second one, so that nothing of the first is left in between
            array /= size
            made[rank].all_reduce(array)
            return array.tobytes()

        total = in_order(given) / np.float32(size)
        assert of_each_rank(size, work) == [in_order([total] * size).tobytes()] * size


def test_what_is_no_number_reaches_all_ranks() -> None:
    with wires(3) as made:

        def work(rank: int) -> np.ndarray:
            array = np.array([rank, np.nan if rank == 1 else 0, (np.inf, 1, -np.inf)[rank]], np.float32)
            made[rank].all_reduce(array)
            return array

        for array in of_each_rank(3, work):
            np.testing.assert_array_equal(array, np.array([3, np.nan, np.nan], np.float32))


@pytest.mark.parametrize("gone", [0, 1])
def test_a_rank_that_is_gone_is_named_by_the_group(gone: int) -> None:
    with wires(2) as made:
        left = made[1 - gone]
        timer = threading.Timer(0.1, _tell, [left, gone])
        timer.start()
        made[gone].abort()
        with pytest.raises(LostRankError, match=f"rank {gone} \\(there, process 12\\) has ended"):
            left.all_reduce(np.zeros(3, np.float32))
        timer.join()


def _tell(wire: SocketsWire, rank: int) -> None:
    group = wire._group
    assert isinstance(group, OneOf)
    group.loss = LostRankError(f"rank {rank} (there, process 12) has ended")


def test_a_rank_whose_loss_nobody_tells_of_is_named_by_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.ranks.wires.losses.SECONDS", 0.1)
    with wires(3) as made:
        made[2].abort()

        def work(rank: int) -> None:
            try:
                made[rank].all_reduce(np.zeros(3, np.float32))
            finally:
                made[rank].abort()

        with pytest.raises(LostRankError, match="rank 2 \\(node2, process 102\\) is out of reach"):
            of_each_rank(2, work)


def test_abort_ends_a_call_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.ranks.wires.losses.SECONDS", 0.1)
    with wires(2) as made:
        timer = threading.Timer(0.1, made[0].abort)
        timer.start()
        begun = time.monotonic()
        with pytest.raises(LostRankError, match="has ended: it was aborted"):
            made[0].all_reduce(np.zeros(3, np.float32))
        timer.join()
        # and the rank at the other end hears of it
        with pytest.raises(LostRankError):
            made[1].all_reduce(np.zeros(3, np.float32))
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize("sent", [2, 4])
def test_a_rank_that_sends_other_gradients_is_named(sent: int) -> None:
    with wires(2) as made:

        def work(rank: int) -> None:
            try:
                made[rank].all_reduce(np.zeros(sent if rank else 3, np.float32))
            finally:
                made[rank].abort()

        with pytest.raises(
            RuntimeError, match=f"rank 1 \\(node1, process 101\\) sent {4 * sent} bytes of gradients, not 12"
        ):
            of_each_rank(2, work)


def test_a_forked_child_does_not_keep_the_connections_open() -> None:
    with wires(2) as made:

        def in_child() -> str:
            with pytest.raises(LostRankError):
                made[0].all_reduce(np.zeros(1, np.float32))
            return "no wire here"

        assert answer_of(in_child) == "no wire here"
        # nor has it shut them down
        assert of_each_rank(2, lambda rank: made[rank].all_reduce(np.zeros(1, np.float32))) == [None, None]
