"""How ranks meet at an address, each rank a thread."""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

import numpy as np
import pytest
from helpers.ports import free_port
from helpers.waiting import wait_until

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks import door as doors
from ttfs_cupy.ranks import meeting, messages
from ttfs_cupy.ranks.door import RefusedError
from ttfs_cupy.ranks.group import Wished
from ttfs_cupy.ranks.place import place
from ttfs_cupy.ranks.star import CommonError, Star
from ttfs_cupy.ranks.watch import Seconds

SHORT = Seconds(meeting=1.0, beat=0.1)


def environment(rank: int, size: int, port: int, host: str = "127.0.0.1") -> dict[str, str]:
    values = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": host, "MASTER_PORT": port}
    return {key: str(value) for key, value in values.items()}


def joined(variables: Mapping[str, str], seconds: Seconds = SHORT) -> Star:
    return meeting.join(place(variables), variables, seconds)


@contextmanager
def met(size: int) -> Iterator[list[Star]]:
    """The groups of ranks that have met in this process."""
    port = free_port()
    with ThreadPoolExecutor(size) as pool:
        seconds = Seconds(beat=0.05)
        ranks = [pool.submit(joined, environment(rank, size, port), seconds) for rank in range(size)]
        groups = [rank.result() for rank in ranks]
        try:
            yield groups
        finally:
            for ended in [pool.submit(group.watch.end_in_order, 0) for group in groups]:
                assert ended.result() == 0
            for group in groups:
                group.watch.thread.join(10)


def each(groups: list[Star], call: Callable[[Star], Any]) -> list[Any]:
    """What a call, made at all ranks at once, returns at each."""
    with ThreadPoolExecutor(len(groups)) as pool:
        return [task.result() for task in [pool.submit(call, group) for group in groups]]


def test_ranks_meet_and_exchange() -> None:
    with met(3) as groups:
        assert [(group.rank, group.size) for group in groups] == [(0, 3), (1, 3), (2, 3)]
        assert [(group.place.local_rank, group.place.local_size) for group in groups] == [(0, 3), (1, 3), (2, 3)]
        assert {member.process for group in groups for member in group.members} == {os.getpid()}
        value = {"end": False, "name": "ü", "numbers": [1, 2.5, None]}
        assert each(groups, lambda group: group.broadcast(value if group.rank == 0 else "mine")) == [value] * 3
        assert each(groups, lambda group: group.gather({"rank": group.rank})) == [[{"rank": r} for r in range(3)]] * 3


def test_sums_are_added_in_the_order_of_ranks() -> None:
    # whose sum is another in each order
    parts = [np.array([[1e16, 1.0]]), np.array([[1.0, 1e16]]), np.array([[-1e16, -1e16]])]
    with met(3) as groups:
        sums = each(groups, lambda group: group.sum(parts[group.rank]))
        counts = each(groups, lambda group: group.sum(np.array([2**62, group.rank])))
        nothing = each(groups, lambda group: group.sum(np.zeros((0, 4))))
    expected = parts[0] + parts[1] + parts[2]
    for total in sums:
        np.testing.assert_array_equal(total, expected)
    # whole numbers wrap around alike, and are never rounded
    assert {tuple(count) for count in counts} == {(-(2**62), 3)}
    assert {array.shape for array in nothing} == {(0, 4)}
    assert parts[0][0, 1] == 1.0


def test_rank_0s_arrays_come_to_all() -> None:
    arrays = {
        "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
        "step": np.array(7),
        "none": np.zeros((0, 2), np.uint8),
    }
    with met(3) as groups:
        for came in each(groups, lambda group: group.broadcast_arrays(arrays if group.rank == 0 else None)):
            assert list(came) == list(arrays)
            for name, array in arrays.items():
                assert (came[name].dtype, came[name].shape) == (array.dtype, array.shape)
                np.testing.assert_array_equal(came[name], array)


def test_what_differs_is_named_at_all_ranks() -> None:
    def differ(group: Star) -> str:
        with pytest.raises(CommonError) as refusal:
            group.require_same(
                {"version": "1", "data set": "mnist" if group.rank < 2 else "fmnist", "seed": group.rank}
            )
        return str(refusal.value)

    with met(3) as groups:
        each(groups, lambda group: group.require_same({"version": "1", "seed": [1, None]}))
        sentences = set(each(groups, differ))
        first, second, host = groups[0].members[0].named(0), groups[0].members[1].named(1), groups[0].members[0].host
    assert sentences == {f"{second} has another seed than {first}: 1, not 0"}
    assert host in first


def test_a_key_that_one_rank_alone_has_is_a_difference() -> None:
    def differ(group: Star) -> None:
        with pytest.raises(CommonError, match=r"another network\.model than rank 0 \(.*\): 'vgg7', not null"):
            group.require_same({"seed": 1, **({"network.model": "vgg7"} if group.rank else {})})

    with met(2) as groups:
        each(groups, differ)


def test_ranks_at_different_calls_are_found() -> None:
    with met(2) as groups:
        messages.send(groups[1]._connections[0], ["sum", ["<f8", [3]]])
        with pytest.raises(RuntimeError, match="rank 1 is at another call than rank 0, which is at gather"):
            groups[0].gather(1)


def test_sums_of_two_shapes_are_found() -> None:
    with met(2) as groups:
        messages.send(groups[1]._connections[0], ["sum", ["<f8", [3]]])
        with pytest.raises(RuntimeError, match=r"rank 1 adds .*3.*, rank 0 .*4"):
            groups[0].sum(np.zeros(4))


def test_wishes_reach_rank_0() -> None:
    with met(3) as groups:
        assert groups[0].take_wishes() == Wished()
        groups[2].wish(save=True)
        wait_until(lambda: groups[0].take_wishes().save)
        assert not groups[0].take_wishes().save
        groups[1].wish(end=15)
        wait_until(lambda: groups[0].take_wishes().end == 15)
        assert groups[0].take_wishes().end == 15
        groups[0].wish(save=True)
        assert groups[0].take_wishes().save


def test_links_are_a_wires_own() -> None:
    with met(3) as groups:
        assert [sorted(group.links) for group in groups] == [[1, 2], [0], [0]]
        groups[0].links[2].send_bytes(b"to rank 2")
        assert groups[2].links[0].recv_bytes() == b"to rank 2"


def test_rank_0_that_never_comes() -> None:
    port = free_port()
    with pytest.raises(UserError) as refusal:
        joined(environment(2, 3, port))
    said = str(refusal.value)
    assert f"rank 2 cannot reach rank 0 at '127.0.0.1:{port}' within 1 s (Connection refused): look whether" in said
    assert all(advice in said for advice in ("rank 0 runs", "MASTER_ADDR", "MASTER_PORT", "firewall"))


def test_a_host_that_nobody_knows() -> None:
    with pytest.raises(UserError, match=r"rank 1 cannot reach rank 0 at 'nowhere\.invalid:.*' within 1 s"):
        joined(environment(1, 2, free_port(), host="nowhere.invalid"))


def test_ranks_that_never_come_are_numbered_and_the_others_told() -> None:
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        zero, one = (pool.submit(joined, environment(rank, 4, port)) for rank in (0, 1))
        with pytest.raises(UserError) as refusal:
            zero.result()
        assert f"2 ranks have not come to rank 0 within 1 s, at port {port} (of 4 ranks 2, 3): look" in str(
            refusal.value
        )
        with pytest.raises(RefusedError) as told:
            one.result()
    assert str(told.value) == str(refusal.value)


def test_ranks_that_count_differently() -> None:
    port = free_port()
    with ThreadPoolExecutor(2) as pool:
        zero = pool.submit(joined, environment(0, 2, port))
        one = pool.submit(joined, environment(1, 3, port))
        for task, error in ((zero, UserError), (one, RefusedError)):
            with pytest.raises(
                error, match=r"rank 1 \(.*\) is one of 3 ranks and rank 0 \(.*\) one of 2: start all with"
            ):
                task.result()


def test_what_answers_and_drips_is_not_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "SECONDS_TO_ANSWER", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            while True:
                try:
                    accepted, _ = server.accept()
                    accepted.sendall(b"\0\0\0\xff")
                    while True:
                        accepted.sendall(b"x")
                        time.sleep(0.05)
                except OSError:
                    if server.fileno() < 0:
                        return

        Thread(target=drip, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(UserError, match=r"within 1 s \(what answers there is not rank 0 of this run"):
            joined(environment(1, 2, server.getsockname()[1]))
        assert time.monotonic() < begun + 5
        server.shutdown(socket.SHUT_RDWR)


def test_another_program_at_rank_0s_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = server.accept()
                except OSError:
                    return
                with accepted:
                    accepted.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        Thread(target=serve, daemon=True).start()
        with pytest.raises(UserError, match="what answers there is not rank 0 of this run"):
            joined(environment(1, 2, server.getsockname()[1]))
        server.shutdown(socket.SHUT_RDWR)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"rank 0 cannot listen at port {port} \(.*in use\): end what uses it, or name"
        ):
            joined(environment(0, 2, port))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is not: set it to the name of the machine of rank 0, for all ranks"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not: set it to a free port there, for all ranks"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT is 'http' in the environment: it must be a port, from 1 to 65535"),
        ({"MASTER_PORT": "65536"}, "MASTER_PORT is '65536' in the environment"),
        ({"MASTER_PORT": "0"}, "MASTER_PORT is '0' in the environment"),
        ({"MASTER_PORT": "9" * 5000}, "it must be a port, from 1 to 65535"),
    ],
)
def test_addresses_that_are_none(changes: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError) as refusal:
        joined({**environment(0, 2, 1), **changes})
    assert sentence in str(refusal.value)


def test_torchrun_listens_at_the_port_itself() -> None:
    variables = {**environment(0, 2, 29500), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    assert meeting._master(variables) == ("127.0.0.1", 29501)
    assert meeting._master({**variables, "TORCHELASTIC_USE_AGENT_STORE": "False"}) == ("127.0.0.1", 29500)
    assert meeting._master({**variables, "MASTER_PORT": "65535"}) == ("127.0.0.1", 65534)
