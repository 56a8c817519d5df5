"""Training steps of several ranks on GPUs made of NumPy: graphs with NCCL's calls in them, and what is found out."""

import itertools
import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import FORBIDDEN_IN_A_STEP, Machine, device_of
from helpers.ranks import OfThreads, in_ranks
from helpers.stepping import CLASSES, SHAPE, SPEC

from ttfs_cupy import models
from ttfs_cupy.data.share import Share
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.device.streams import Streams
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.optimizer import Limits, Sgd
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.ranks import all_reduce
from ttfs_cupy.ranks.all_reduce import DeviceAllReduce
from ttfs_cupy.ranks.group import ALONE, Group, LostRankError
from ttfs_cupy.ranks.wires import losses
from ttfs_cupy.ranks.wires.nccl import NcclWire

# of all ranks together; the last one is uneven for two ranks
SIZES = (8, 8, 8, 3, 8, 3, 3)
# relative, in the norm: sums in another order
CLOSE = 1e-5


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network as small as this one there would be one."""
    monkeypatch.setattr(all_reduce, "SMALLEST_BYTES", 512)
    monkeypatch.setattr(losses, "SECONDS", 0.05)


class Rank:
    """A rank in training. wired: whether it has an all_reduce."""

    def __init__(
        self,
        group: Group,
        *,
        wired: bool = True,
        eager: tuple[str, ...] = (),
        refuses: bool = False,
        accumulate: int = 1,
        capture: bool = True,
        **options: Any,
    ):
        self.machine = Machine(eager, refuses_capture=refuses)
        self.device: CudaDevice = device_of(self.machine, **options)
        self.share = Share(group.rank, group.size)
        self.net = models.build(SPEC, SHAPE, CLASSES, self.device, initial_potential=True)
        optimizer = Sgd(
            self.device, self.net.parameters, 1e-2, momentum=0.9, limits=Limits(weight_decay=0.01, clip_norm=0.5)
        )
        self.exchange: DeviceAllReduce | None = None
        if wired:
            self.wire = NcclWire(group, self.device)
            group.on_loss(self.wire.abort)
            parameters = self.net.parameters
            layout = parameters.gradients, parameters.starts.values(), parameters.decayed
            made = all_reduce.all_reduce_of(self.device, self.wire, *layout)
            assert isinstance(made, DeviceAllReduce) and len(made.buckets) > 2
            self.exchange = made
        self.step = TrainingStep(
            *(self.net, optimizer, self.share.most(max(SIZES))),
            all_reduce=self.exchange,
            accumulate=accumulate,
            capture=capture,
            average=WeightAverage(optimizer, 0.9),
        )
        self.random = np.random.default_rng(0)

    def run(self, size: int) -> list[str]:
        """A step on this rank's share, and what its machine was asked for."""
        before = len(self.machine.log)
        inputs = self.random.random((size, *SHAPE[1:], SHAPE[0]), np.float32)
        labels = self.random.integers(0, CLASSES, size).astype(np.int32)
        first = self.share.first(size)
        here = slice(first, first + self.share.count(size))
        self.step.send(inputs[here].copy(), labels[here].copy(), size)
        self.step.run()
        return self.machine.kinds(before)

    def train(self) -> np.ndarray:
        for size in SIZES:
            self.run(size)
        self.step.flush()
        return self.weights()

    def weights(self) -> np.ndarray:
        values = self.device.to_host(self.net.parameters.values)
        assert self.machine.violations == []
        return values


def trained(ranks: int, **options: Any) -> list[Rank]:
    """All of them, at their end, with the same bits."""

    def body(group: OfThreads) -> tuple[Rank, bytes]:
        own = {name: option(group.rank) if callable(option) else option for name, option in options.items()}
        rank = Rank(group, **own)
        return rank, rank.train().tobytes()

    ended = in_ranks(ranks, body)
    assert len({bits for _, bits in ended}) == 1
    return [rank for rank, _ in ended]


@cache
def of_one(accumulate: int = 1) -> np.ndarray:
    """The weights of a rank that has all images."""
    return Rank(ALONE, wired=False, accumulate=accumulate).train()


@cache
def bits_of_two() -> bytes:
    return trained(2, eager=("null", "steps", "copies", "exchanges"), capture=False)[0].weights().tobytes()


def difference(values: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(values - expected) / np.linalg.norm(expected))


# What they compute


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_together_take_the_steps_of_one(ranks: int, accumulate: int) -> None:
    for rank in trained(ranks, accumulate=accumulate):
        # of each size one, or of each place in a group
        assert rank.step.graphs >= 2
        assert difference(rank.weights(), of_one(accumulate)) < CLOSE
    assert difference(of_one(), of_one(3)) > 100 * CLOSE


@pytest.mark.parametrize("eager", [(), ("exchanges",), ("steps",), ("null", "steps", "copies", "exchanges")])
def test_whatever_runs_first_the_bits_are_the_same(eager: tuple[str, ...]) -> None:
    assert trained(2, eager=eager)[0].weights().tobytes() == bits_of_two()


def test_the_last_layers_gradients_travel_while_others_are_computed() -> None:
    (rank, _) = trained(2)
    graph = [entry for entry in rank.machine.log if entry.kind in ("launch", "product", "collective")][-60:]
    places = [place for place, entry in enumerate(graph) if entry.kind == "collective"]
    assert rank.exchange is not None
    first = places[-len(rank.exchange.buckets)]
    backward = [entry for entry in graph[first : places[-1]] if entry.kind != "collective"]
    assert {entry.stream for entry in backward} == {"steps"} and len(backward) > 5
    assert {graph[place].stream for place in places} == {"exchanges"}


def test_a_replayed_step_is_one_graph_and_allocates_nothing() -> None:
    def body(group: OfThreads) -> None:
        rank = Rank(group)
        for _ in range(3):
            rank.run(8)
        kinds = rank.run(8)
        assert kinds.count("graph") == 1
        assert not set(kinds) & set(FORBIDDEN_IN_A_STEP)
        assert not {"launch", "collective"} & set(kinds), "all of it is in the graph"
        rank.weights()

    in_ranks(2, body)


def test_with_an_old_nccl_the_exchange_is_between_two_graphs() -> None:
    found = trained(2, nccl_version=2804)
    for rank in found:
        assert rank.weights().tobytes() == bits_of_two()
        assert rank.step.graphs == 2
        kinds = rank.machine.kinds()
        assert kinds.count("graph") == 2 * (len(SIZES) - 2)
    rank = found[0]
    last = rank.machine.kinds()[-1 - rank.machine.kinds()[::-1].index("graph") - 1 :]
    assert "collective" not in last, "the optimiser's graph comes after"


def test_an_old_nccl_and_groups_of_batches() -> None:
    new, old = (trained(2, accumulate=3, nccl_version=version)[0].weights() for version in (23007, 2804))
    assert new.tobytes() == old.tobytes()


def test_where_one_rank_cannot_record_none_does(caplog: pytest.LogCaptureFixture) -> None:
    for rank in trained(2, refuses=lambda rank: rank == 1):
        assert rank.step.graphs == 0
        assert rank.weights().tobytes() == bits_of_two()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert all(
        text.startswith("training steps are launched kernel by kernel, not as one CUDA graph: ") for text in said
    )
    assert all("at rank 1: " in text and "this driver does not capture" in text for text in said)


@pytest.mark.parametrize("version", [23007, 2804])
def test_a_rank_that_launches_kernel_by_kernel_has_all_do_so(version: int, caplog: pytest.LogCaptureFixture) -> None:
    """As for CUDA_LAUNCH_BLOCKING in the environment of one: it would ask nobody, and the others wait for its word."""
    caplog.set_level("INFO", "ttfs_cupy")
    for rank in trained(2, capture=lambda rank: rank == 0, nccl_version=version):
        assert rank.step.graphs == 0
        assert rank.weights().tobytes() == bits_of_two()
    said = "all is launched kernel by kernel, not as one CUDA graph: at rank 1: capture=False"
    assert caplog.messages.count(said) == 1


def test_a_call_that_one_rank_cannot_record_in_the_middle_of_a_step() -> None:
    """The other rank has recorded all, and both take the step anew, from its first bucket on."""

    def body(group: OfThreads) -> tuple[bytes, int]:
        rank = Rank(group)
        communicator, recorded = rank.wire._communicator, itertools.count(1)
        real = communicator.allReduce

        def call(*arguments: Any) -> None:
            if group.rank == 1 and rank.device.streams.recording is not None and next(recorded) == 2:
                raise rank.device.nccl().NcclError(5)
            real(*arguments)

        communicator.allReduce = call
        for size in SIZES:
            rank.run(size)
        values = rank.device.to_host(rank.net.parameters.values).tobytes()
        # a capture that ends as it fails has nothing joined
        assert all("not joined" in violation for violation in rank.machine.violations)
        return values, rank.step.graphs

    assert in_ranks(2, body) == [(bits_of_two(), 0)] * 2


def test_an_exchange_that_is_dropped_leaves_the_gradients() -> None:
    rank = Rank(ALONE)
    exchange, parameters = rank.exchange, rank.net.parameters
    assert exchange is not None
    with rank.device.streams.step():
        exchange.ready(exchange.buckets[0].due)
        exchange.drop()
        # a kernel on all of them, which must come after
        parameters.zero_gradients()
        before = len(rank.machine.log)
        exchange.finish()
        assert rank.machine.kinds(before).count("collective") == len(exchange.buckets), "the next one begins anew"
        exchange.drop()
    rank.weights()


@pytest.mark.parametrize("fails", [False, True])
def test_an_exception_aborts_the_wire(fails: bool) -> None:
    rank = Rank(ALONE)
    assert rank.exchange is not None
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext(), rank.exchange:
        if fails:
            raise KeyboardInterrupt
    assert rank.wire._is_aborted is fails


def test_gradients_that_are_not_finite_at_one_rank_cost_all_the_step() -> None:
    def body(group: OfThreads) -> tuple[bytes, bytes]:
        rank = Rank(group)
        for _ in range(3):
            rank.run(8)
        before = rank.weights().tobytes()
        spoilt = rank.net.parameters.gradients
        real = rank.net.differentiate

        def differentiate(*arguments: Any, done: Any, **named: Any) -> None:
            real(*arguments, **named)
            if group.rank == 1:
                rank.device.launch("fill", 1, spoilt[:1], float("nan"), 1)

        rank.net.differentiate = differentiate  # type: ignore[method-assign]
        rank.run(5)
        return before, rank.weights().tobytes()

    for before, after in in_ranks(2, body):
        assert before == after


def test_a_rank_that_is_lost_ends_the_steps_of_the_others() -> None:
    """Replayed steps call nothing that would tell."""
    ended: list[str] = []
    have_ended = threading.Event()

    def body(group: OfThreads) -> None:
        rank = Rank(group)
        steps = itertools.count(1)
        with pytest.raises(LostRankError) if group.rank == 0 else nullcontext() as error:
            while next(steps) < 6 or group.rank == 0:
                rank.run(8)
        if error is None:
            raise ZeroDivisionError
        ended.append(str(error.value))
        have_ended.set()

    with pytest.raises(ZeroDivisionError):
        in_ranks(2, body)
    assert have_ended.wait(60)
    assert ended == ["rank 1 has ended"]


# What is found


def found(fault: Callable[[Rank, int], None], match: str, *, before: bool = True) -> None:
    """A fault planted into a rank's steps, of which the first two are sound. before: at rank 1 alone."""

    def body(group: OfThreads) -> None:
        rank = Rank(group)
        if not before or group.rank == 1:
            fault(rank, group.rank)
        for _ in range(4):
            rank.run(8)
        rank.device.to_host(rank.net.parameters.values)
        rank.wire._communicator.destroy()

    with pytest.raises((AssertionError, RuntimeError), match=match):
        in_ranks(2, body)


def test_a_missing_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "join", lambda self: None)
    found(lambda *_: None, "in stream steps does not wait for allReduce in stream exchanges")


def test_a_missing_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Streams, "exchange", lambda self: self._exchanges)
    found(lambda *_: None, "allReduce in stream exchanges does not wait for")


def test_a_bucket_that_a_rank_leaves_out() -> None:
    def fault(rank: Rank, number: int) -> None:
        assert rank.exchange is not None
        rank.exchange.buckets = rank.exchange.buckets[:-1]

    found(fault, "of rank 0 is allReduce .* of rank 1 is allReduce")


def test_buckets_in_another_order() -> None:
    def fault(rank: Rank, number: int) -> None:
        assert rank.exchange is not None
        views = rank.exchange._views
        # both are handed over with the first layer
        views[-2:] = views[:-3:-1]

    found(fault, "of rank 0 is allReduce .* of rank 1 is allReduce")


def test_a_bucket_that_is_handed_over_too_early() -> None:
    def fault(rank: Rank, number: int) -> None:
        exchange = rank.exchange
        assert exchange is not None
        real = exchange.ready
        # all are told to be there with the last layer
        exchange.ready = lambda first: real(0)  # type: ignore[method-assign]

    found(fault, "does not wait for allReduce in stream exchanges", before=False)


def test_a_rank_that_records_alone() -> None:
    def fault(rank: Rank, number: int) -> None:
        rank.step._captures = False

    def agree(self: Any, capture: Callable[[], Any]) -> Any:
        graph = capture()
        self._begun = 0
        return graph

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeviceAllReduce, "captured", agree)
        found(fault, "in a graph, recorded as number 1, .* launched")
