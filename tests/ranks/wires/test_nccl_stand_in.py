"""The stand-in for NCCL: what it adds up, and every fault that it is there to find (cuda_stand_in/nccl.py)."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from cuda_stand_in.captures import CaptureError
from cuda_stand_in.nccl_hub import new_hub
from helpers.nccl_ranks import FLOAT32, FLOAT64, SIZE, SUM, Rank, alone, branched, total, values_of, with_ranks
from helpers.ranks import OfThreads, in_ranks

# What it does


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_add_up_in_their_order(size: int) -> None:
    def body(rank: Rank) -> np.ndarray:
        rank.call()
        rank.call(4, 3)
        values = rank.host()
        rank.communicator.destroy()
        assert rank.machine.violations == []
        return values

    expected = total(size)
    expected[4:7] = sum([expected[4:7]] * (size - 1), expected[4:7])
    assert [values.tobytes() for values in with_ranks(size, body)] == [expected.tobytes()] * size


def rank_of_a_process(unique_id: bytes, rank: int, answers: Connection) -> None:
    one = Rank(unique_id, rank, 2)
    one.call()
    answers.send(one.host())
    one.communicator.destroy()


def test_ranks_may_be_processes() -> None:
    unique_id, context = new_hub(), multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=rank_of_a_process, args=(unique_id, 1, there))
    child.start()
    rank_of_a_process(unique_id, 0, there)
    assert [here.recv().tobytes() for _ in range(2)] == [total(2).tobytes()] * 2
    child.join(60)
    assert child.exitcode == 0


def test_a_call_runs_with_its_stream_and_after_the_calls_before() -> None:
    def body(rank: Rank) -> None:
        streams = rank.streams
        with streams.step():
            with streams.exchange():
                rank.call(0, 6)
            streams.join()
        before = rank.array.view(np.ndarray).copy()
        assert before.tobytes() == values_of(rank.rank).tobytes(), "nothing has waited for it yet"
        # a later call, in another stream, has the one before done as well
        rank.call(6, 6)
        assert rank.host().tobytes() == total(2).tobytes()
        rank.communicator.destroy()
        assert rank.machine.violations == []

    with_ranks(2, body)


@pytest.mark.parametrize("eager", [(), ("exchanges",), ("steps",), ("null", "steps", "copies", "exchanges")])
def test_a_branch_of_a_graph_is_replayed(eager: tuple[str, ...]) -> None:
    def body(rank: Rank) -> np.ndarray:
        with rank.streams.step():
            graph = branched(rank)
            assert rank.array.view(np.ndarray).tobytes() == values_of(rank.rank).tobytes(), "recorded, and not done"
            graph.launch()
            graph.launch()
        values = rank.host()
        del graph
        rank.communicator.destroy()
        assert rank.machine.violations == []
        return values

    expected = total(2) + total(2)
    assert all(values.tobytes() == expected.tobytes() for values in with_ranks(2, body, eager=eager))


# What it finds: ranks that do not do the same


def planted(at_rank_1: Callable[[Rank], None], match: str, at_rank_0: Callable[[Rank], None] = Rank.call) -> None:
    """Rank 0 calls as it should, rank 1 as the fault has it: both are told, and the machine knows of it."""
    found: list[str] = []

    def body(rank: Rank) -> None:
        try:
            (at_rank_1 if rank.rank else at_rank_0)(rank)
            rank.host()
            rank.communicator.destroy()
        finally:
            found.extend(rank.machine.violations)

    with pytest.raises(AssertionError, match=match):
        with_ranks(2, body)
    assert found


def test_another_count() -> None:
    planted(lambda rank: rank.call(0, SIZE - 1), "call 1 of rank 0 is allReduce of 12 .*, call 1 of rank 1 .* of 11 ")


def test_another_type() -> None:
    planted(lambda rank: rank.call(0, SIZE // 2, datatype=FLOAT64), "of type 7, .* of type 8, ", lambda r: r.call(0, 6))


def test_another_order() -> None:
    def swapped(rank: Rank) -> None:
        rank.call(6, 6)
        rank.call(0, 6)

    def straight(rank: Rank) -> None:
        rank.call(0, 6)
        rank.call(6, 6)

    planted(swapped, "at byte 0, .* at byte 24, ", straight)


def test_a_call_that_is_left_out() -> None:
    def once(rank: Rank) -> None:
        rank.call(0, 6)

    def twice(rank: Rank) -> None:
        rank.call(0, 6)
        rank.call(6, 6)

    planted(once, "rank 1 has left after 1 calls, and rank 0 waits in allReduce of 6 .* at byte 24", twice)


def in_a_graph(rank: Rank) -> None:
    with rank.streams.step():
        branched(rank).launch()


def test_a_graph_at_one_rank_only() -> None:
    planted(in_a_graph, "at byte 0, launched, .* in a graph, recorded as number 1")


def test_another_place_among_the_recorded_calls() -> None:
    def anew(rank: Rank) -> None:
        streams = rank.streams
        with streams.step():
            streams.capture(lambda: rank.call())
        in_a_graph(rank)

    planted(anew, "recorded as number 1, .* recorded as number 2", in_a_graph)


# What it finds: a rank by itself


def test_a_buffer_that_is_too_small() -> None:
    alone(lambda rank: rank.call(1, SIZE), RuntimeError, "INVALID_ARGUMENT", "ends beyond its allocation")


def test_a_buffer_that_is_gone() -> None:
    def gone(rank: Rank) -> None:
        place = rank.array.data.ptr
        del rank.array
        rank.communicator.allReduce(place, place, SIZE, FLOAT32, SUM, rank.machine.streams[1].ptr)

    alone(gone, RuntimeError, "INVALID_ARGUMENT", "not the device's, or no longer")


def test_buffers_that_overlap() -> None:
    def overlapping(rank: Rank) -> None:
        place = rank.array.data.ptr
        rank.communicator.allReduce(place, place + 4, 4, FLOAT32, SUM, 0)

    alone(overlapping, RuntimeError, "INVALID_ARGUMENT", "overlap")


def test_a_stream_that_is_none() -> None:
    class Nowhere:
        ptr = 12345

    alone(lambda rank: rank.call(stream=Nowhere), RuntimeError, "INVALID_ARGUMENT", "a stream that is none")


def test_arguments_as_cupy_takes_them() -> None:
    rank = Rank(new_hub(), 0, 1)
    place = rank.array.data.ptr
    with pytest.raises(TypeError):
        rank.communicator.allReduce(place, place, 1.5, FLOAT32, SUM, 0)
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
        rank.communicator.allReduce(0, place, 1, FLOAT32, SUM, 0)
    with pytest.raises(RuntimeError, match="INVALID_ARGUMENT"):
        rank.call(datatype=99)
    with pytest.raises(TypeError, match="commId"):
        rank.nccl.NcclCommunicator(1, list(new_hub()), 0)
    with pytest.raises(ValueError, match="commId length 127"):
        rank.nccl.NcclCommunicator(1, new_hub()[:-1], 0)


def test_a_call_in_a_stream_that_nothing_orders() -> None:
    """In the stream of exchanges, with no event before it: the kernel that made the gradients may still run."""

    def fault(rank: Rank) -> None:
        with rank.streams.step():
            rank.launch()
            rank.call(stream=rank.machine.stream("exchanges"))

    alone(
        fault, AssertionError, "allReduce in stream exchanges does not wait for fill in stream steps", "does not wait"
    )


def test_a_call_that_nothing_waits_for() -> None:
    def fault(rank: Rank) -> None:
        with rank.streams.step():
            with rank.streams.exchange():
                rank.call(0, 6)
            # others' gradients, beside it
            rank.launch(rank.array[6:])
            rank.launch(rank.array[:6])

    alone(fault, AssertionError, "fill in stream steps does not wait for allReduce", "does not wait for allReduce")


def test_a_copy_to_the_host_that_does_not_wait() -> None:
    def fault(rank: Rank) -> None:
        with rank.streams.step(), rank.streams.exchange():
            rank.call()
        rank.host()

    alone(fault, AssertionError, "a copy to the host in stream null does not wait for allReduce", "does not wait")


def test_a_graph_whose_branch_does_not_wait() -> None:
    def fault(rank: Rank) -> None:
        streams = rank.streams

        def work() -> None:
            with streams.exchange():
                rank.call()
            rank.launch()
            streams.join()

        with streams.step():
            streams.capture(work)

    alone(fault, AssertionError, "fill in stream steps does not wait for allReduce", "does not wait")


def test_a_call_in_another_stream_than_the_captured_one() -> None:
    def fault(rank: Rank) -> None:
        with rank.streams.step():
            rank.streams.capture(lambda: rank.call(stream=rank.machine.stream("exchanges")))

    alone(fault, CaptureError, "beside a capture", "nothing can be launched beside a capture")


def test_a_branch_that_is_not_joined() -> None:
    def fault(rank: Rank) -> None:
        def work() -> None:
            with rank.streams.exchange():
                rank.call()

        with rank.streams.step():
            rank.streams.capture(work)

    alone(fault, CaptureError, "invalidated", "work in exchanges that was not joined")


def test_an_old_nccl_in_a_graph() -> None:
    alone(in_a_graph, RuntimeError, "INVALID_USAGE", "before 2.9", nccl_version=2804)


def test_a_communicator_that_is_destroyed_before_its_graph() -> None:
    def fault(rank: Rank) -> None:
        with rank.streams.step():
            graph = rank.streams.capture(rank.call)
            graph.launch()
        rank.communicator.destroy()

    alone(fault, AssertionError, "wait for ever", "before its graphs")


def test_an_event_of_a_capture_is_none_afterwards() -> None:
    rank = Rank(new_hub(), 0, 1)
    event = rank.streams.event()
    with rank.streams.step():
        rank.streams.capture(lambda: rank.streams.mark(event))
    with pytest.raises(CaptureError, match="none outside"):
        rank.machine.stream("copies").wait_event(event)
    with pytest.raises(CaptureError, match="none outside"):
        event.synchronize()


def test_a_captured_stream_does_not_wait_for_what_is_outside() -> None:
    rank = Rank(new_hub(), 0, 1)
    event = rank.streams.event()
    rank.streams.mark(event)
    with rank.streams.step(), pytest.raises(CaptureError, match="captured stream cannot wait"):
        rank.streams.capture(lambda: rank.machine.stream("steps").wait_event(event))


def test_ranks_that_have_no_place() -> None:
    unique_id = new_hub()
    with pytest.raises(AssertionError, match="rank 0 of 2 has no place"):
        in_ranks(2, lambda group: Rank(unique_id, 0, 2))


def test_two_ranks_on_one_gpu() -> None:
    unique_id = new_hub()

    def body(group: OfThreads) -> None:
        machine = Machine()
        machine.bus = "0000:17"
        device_of(machine).nccl().NcclCommunicator(2, unique_id, group.rank)

    with pytest.raises(AssertionError, match=r"have one GPU, .*0000:17"):
        in_ranks(2, body)


def test_a_copy_from_the_host_that_does_not_wait() -> None:
    def fault(rank: Rank) -> None:
        with rank.streams.step(), rank.streams.exchange():
            rank.call()
        rank.array.set(values_of(0), rank.machine.stream("copies"))

    alone(fault, AssertionError, "a copy from the host in stream copies does not wait for allReduce", "does not wait")
