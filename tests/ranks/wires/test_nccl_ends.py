"""How the wire over NCCL ends, on GPUs made of NumPy: by a loss, by a failure of NCCL's, in order, and once."""

import gc
import sys
import threading
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.nccl_ranks import wired
from helpers.ranks import OfThreads, Table, in_ranks
from helpers.waiting import wait_until

from ttfs_cupy.device import CudaDevice
from ttfs_cupy.ranks.group import ALONE, LostRankError
from ttfs_cupy.ranks.wires import losses, nccl
from ttfs_cupy.ranks.wires.nccl import IN_SWITCHES, NcclWire


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "SECONDS", 0.05)
    monkeypatch.delenv(IN_SWITCHES, raising=False)


def test_a_rank_that_is_lost_ends_the_others() -> None:
    ends: list[str] = []
    have_called = threading.Barrier(3, timeout=60)

    def body(group: OfThreads) -> None:
        device, wire = wired(group)
        array = device.to_device(np.ones(5, np.float32))
        wire.all_reduce(array)
        device.to_host(array)
        if group.rank == 2:
            have_called.wait()
            raise ZeroDivisionError
        wire.all_reduce(array)
        have_called.wait()
        # this waits for a rank that never comes, until the loss is told
        device.to_host(array)
        for call in (lambda: wire.all_reduce(array), wire.check):
            with pytest.raises(LostRankError, match="rank 2 has ended"):
                call()
        wire.close()
        ends.append("named")

    with pytest.raises(ZeroDivisionError):
        in_ranks(3, body)
    wait_until(lambda: len(ends) == 2)
    assert ends == ["named"] * 2


def test_what_nccl_finds_out_while_it_runs() -> None:
    wire = NcclWire(ALONE, device_of(Machine()))
    wire.check()
    wire._communicator.async_status = 6
    with pytest.raises(LostRankError, match="exchange of gradients has ended: NCCL_ERROR_REMOTE_ERROR"):
        wire.check()


def test_an_nccl_that_fails_while_all_ranks_live_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its kernels wait, and nobody calls anything."""
    monkeypatch.setattr(nccl, "LOOK", 0.05)
    said, has_waited = [], threading.Event()

    def body(group: OfThreads) -> None:
        device, wire = wired(group)
        with pytest.raises(LostRankError) as error:
            if group.rank:
                group.gather("its call comes later")
            array = device.to_device(np.ones(5, np.float32))
            wire.all_reduce(array)
            threading.Timer(0.1, lambda: setattr(wire._communicator, "async_status", 6)).start()
            device.to_host(array)
            has_waited.set()
            wire.check()
        said.append(str(error.value))

    in_ranks(2, body)
    assert has_waited.is_set()
    (sentence,) = {*said}
    assert sentence.startswith("rank 0 cannot go on: the exchange of gradients has ended: NCCL_ERROR_REMOTE_ERROR")


def test_an_nccl_that_fails_since_a_rank_is_lost_is_not_what_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "SECONDS", 60.0)
    table = Table(2)
    wire = NcclWire(ALONE, device_of(Machine()))
    wire._group = OfThreads(table, 0)
    wire._communicator.async_status = 6
    threading.Timer(0.1, table.lose, [1]).start()
    with pytest.raises(LostRankError, match=r"^rank 1 has ended$"):
        wire.check()


def test_what_nccl_says_after_the_end_is_no_failure() -> None:
    """Where another rank has closed its communicator before."""
    wire = NcclWire(ALONE, device_of(Machine()))
    wire._graphs = [None]  # type: ignore[assignment]
    wire.close()
    wire._communicator.async_status = 6
    wire.check()


def test_errors_that_cupy_has_no_words_for() -> None:
    device = device_of(Machine())
    wire = NcclWire(ALONE, device)
    array = device.to_device(np.ones(5, np.float32))
    wire._communicator.allReduce = lambda *_: _raise_newest(device)
    with pytest.raises(LostRankError, match=r"has ended: NCCL's error 8, which CuPy has no words for$"):
        wire.all_reduce(array)
    with pytest.raises(RuntimeError, match=r"^NCCL's error 8"), device.streams.step():
        device.streams.capture(lambda: wire.all_reduce(array))
    wire._communicator.async_status = 8
    with pytest.raises(LostRankError, match=r"has ended: NCCL's error 8, which CuPy has no words for$"):
        wire.check()


def _raise_newest(device: CudaDevice) -> None:
    raise device.nccl().NcclError(8)


def test_a_call_that_nccl_refuses() -> None:
    device = device_of(Machine())
    wire = NcclWire(ALONE, device)
    wire._communicator.destroy()
    array = device.to_device(np.ones(5, np.float32))
    with pytest.raises(LostRankError, match="INVALID_ARGUMENT"):
        wire.all_reduce(array)


def test_abort_does_not_wait_for_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NCCL does, which first ends its kernels."""
    wire, goes_on = NcclWire(ALONE, device_of(Machine())), threading.Event()
    wire._communicator.abort = goes_on.wait
    wire.abort()
    goes_on.set()


def test_a_communicator_is_aborted_once() -> None:
    """Both by the group's watch, and by whom its error passes."""
    machine = Machine()
    wire = NcclWire(ALONE, device_of(machine))
    wire.abort()
    wire.abort()
    wait_until(lambda: not any(thread.name == "ttfs_cupy_abort" for thread in threading.enumerate()))
    assert wire._communicator._line is None
    assert machine.violations == []


@pytest.mark.parametrize("closed", [False, True])
def test_a_communicator_is_given_up_once(closed: bool) -> None:
    wire, ends = NcclWire(ALONE, device_of(Machine())), []
    wire._communicator.abort = lambda: ends.append("abort")
    wire._communicator.destroy = lambda: ends.append("destroy")
    for end in (wire.close, wire.abort) if closed else (wire.abort, wire.close):
        end()
        wait_until(lambda: len(ends) == 1)
    wait_until(lambda: not any(thread.name == "ttfs_cupy_abort" for thread in threading.enumerate()))
    assert ends == ["destroy" if closed else "abort"]


@pytest.mark.parametrize("call", ["allReduce", "check_async_error"])
@pytest.mark.parametrize("returns", [True, False])
def test_abort_lets_a_call_return_if_it_does(call: str, returns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that waits for a lost rank itself, as the first of all may, does not before it is aborted."""
    monkeypatch.setattr(nccl, "CALL", 60.0 if returns else 0.05)
    device = device_of(Machine())
    wire, order = NcclWire(ALONE, device), []
    is_inside, is_aborted, goes_on = threading.Event(), threading.Event(), threading.Event()

    def called(*_: Any) -> None:
        is_inside.set()
        assert (goes_on if returns else is_aborted).wait(60)
        order.append("returned")

    def aborted() -> None:
        order.append("aborted")
        is_aborted.set()

    setattr(wire._communicator, call, called)
    wire._communicator.abort = aborted
    array = device.to_device(np.ones(5, np.float32))
    thread = threading.Thread(target=wire._look if call == "check_async_error" else lambda: wire.all_reduce(array))
    thread.start()
    assert is_inside.wait(60)
    wire.abort()
    assert returns is not is_aborted.wait(0.2)
    goes_on.set()
    thread.join()
    assert is_aborted.wait(60)
    assert order == (["returned", "aborted"] if returns else ["aborted", "returned"])


def test_a_communicator_is_left_alone_while_graphs_have_its_calls() -> None:
    machine = Machine()
    device = device_of(machine)
    wire = NcclWire(ALONE, device)
    array = device.to_device(np.ones(5, np.float32))
    with device.streams.step():
        graph = device.streams.capture(lambda: wire.all_reduce(array))
        graph.launch()
    wire.close()
    assert wire._communicator._line is not None
    del graph
    gc.collect()
    wire.close()
    assert wire._communicator._line is None
    assert machine.violations == []


def test_a_communicator_outlives_its_wire() -> None:
    """CuPy would destroy it with its object, which NCCL may never come back from."""
    wire = NcclWire(ALONE, device_of(Machine()))
    communicator = wire._communicator
    before = sys.getrefcount(communicator)
    del wire
    gc.collect()
    # the wire's own is gone, and one is left that nobody gives up
    assert sys.getrefcount(communicator) == before - 1 > 2
