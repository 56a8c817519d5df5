"""Training steps as CUDA graphs, on a GPU made of NumPy (cuda_stand_in.py): the same bits, and nothing but launches.

Each promise is tested twice: that it is kept, and that a step which breaks it would be found out.
"""

import gc
import logging
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import evaluate, small, timeless, train
from cuda_stand_in import FORBIDDEN_IN_A_STEP, Array, Entry, Event, Machine, Stream

from ttfs_cupy import device as devices
from ttfs_cupy import models, trainer
from ttfs_cupy.device import CpuDevice, CudaDevice, Device
from ttfs_cupy.device.streams import Streams
from ttfs_cupy.network import Network
from ttfs_cupy.neuron import PspSlope
from ttfs_cupy.optimizer import Adam, Limits, Optimizer, Sgd
from ttfs_cupy.training_step import TrainingStep

SHAPE, CLASSES = (2, 9, 8), 5
# every algorithm, pooling joined to a convolution and alone, and a full connection
SPEC = [5, 16, "P", {"convolution": 16}, {"convolution": 6, "kernel": 2, "stride": 2}, {"linear": 7}]
# a smaller last batch
BATCHES = (8, 8, 8, 3)
EPOCHS = 4
LIMITS = Limits(weight_decay=0.01, clip_norm=0.5, weight_clip=(-0.6, 0.6), fixed_sign=True)

OPTIMIZERS: dict[str, Callable[[Device, Any], Optimizer]] = {
    "adam": lambda device, parameters: Adam(device, parameters, 1e-3),
    "adam with limits": lambda device, parameters: Adam(device, parameters, 1e-3, limits=LIMITS),
    "sgd with momentum": lambda device, parameters: Sgd(device, parameters, 1e-2, momentum=0.9, limits=LIMITS),
}
# which streams run at once, the others as late as possible: what may happen on a GPU lies between these
ORDERS = [(), ("copies",), ("steps",), ("null", "steps", "copies")]


class Training:
    """A network, its optimiser and its steps, on the stand-in unless another device is given."""

    def __init__(
        self,
        machine: Machine | None = None,
        *,
        optimizer: str = "adam",
        capture: bool = True,
        device: Device | None = None,
        **rule: Any,
    ):
        self.machine = machine or Machine()
        self.device = device or self.machine.device()
        self.net = models.build(SPEC, SHAPE, CLASSES, self.device, **rule)
        self.net.plan(max(BATCHES), training=True)
        self.optimizer = OPTIMIZERS[optimizer](self.device, self.net.parameters)
        self.step = TrainingStep(self.net, self.optimizer, max(BATCHES), capture=capture)
        self.random = np.random.default_rng(0)
        self.number = 0

    def send(self, count: int = max(BATCHES), *, spoilt: bool = False) -> None:
        height, width = SHAPE[1:]
        inputs = self.random.random((count, height, width, SHAPE[0]), np.float32)
        inputs[inputs < 0.3] = 0
        if spoilt:
            inputs[0, 0, 0] = np.inf
        labels = self.random.integers(0, CLASSES, count).astype(np.int32)
        self.step.send(inputs, labels)
        # whoever sent them may use them for something else
        inputs[...], labels[...] = np.nan, -1

    def run(self, count: int = max(BATCHES), **given: Any) -> list[Entry]:
        """A step, and what the machine was asked for."""
        first = len(self.machine.log)
        self.send(count, **given)
        self.optimizer.lr = 1e-3 / (1 + self.number)
        self.step.run()
        self.number += 1
        return self.machine.log[first:]

    def epochs(self) -> "Training":
        """Several, psp_slope annealed from 0 on in the second half."""
        for epoch in range(EPOCHS):
            for batch, count in enumerate(BATCHES):
                self.net.psp_slope = max(0.0, (epoch - EPOCHS // 2) / 10 + batch / 100) if epoch >= EPOCHS // 2 else 0.0
                self.run(count, spoilt=(epoch, batch) == (1, 1))
        return self

    def bits(self) -> dict[str, bytes]:
        arrays = {**self.net.state_dict(), **self.optimizer.state_dict()}
        totals = self.device.to_host(self.net.loss._totals)
        return {name: array.tobytes() for name, array in (*arrays.items(), ("totals", totals))}

    def steps(self, count: int = max(BATCHES), *, steps: int = 4) -> list[list[Entry]]:
        return [self.run(count) for _ in range(steps)]


# The same bits


@pytest.fixture(scope="module")
def launched() -> dict[str, dict[str, bytes]]:
    """The bits of every optimiser's training, kernel by kernel, each stream running at once."""
    return {name: Training(Machine(ORDERS[-1]), optimizer=name, capture=False).epochs().bits() for name in OPTIMIZERS}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replayed_steps_leave_the_bits_of_launched_ones(
    optimizer: str, order: tuple[str, ...], launched: dict[str, dict[str, bytes]]
) -> None:
    training = Training(Machine(order), optimizer=optimizer).epochs()
    assert training.machine.violations == []
    # two batch sizes, each with psp_slope 0 and above
    assert training.step.graphs == 4
    counts = training.optimizer.counts
    assert (counts.applied, counts.skipped) == (EPOCHS * len(BATCHES) - 1, 1)
    assert (counts.clipped > 0) == (optimizer != "adam")
    assert training.bits() == launched[optimizer]


@pytest.mark.parametrize("rule", [{"clip": "separate"}, {"readout": "spike_times"}, {"encoding": "direct"}])
def test_whatever_the_rule_of_the_neurons(rule: dict[str, Any]) -> None:
    replayed, launched = (Training(capture=capture, **rule) for capture in (True, False))
    for training in (replayed, launched):
        training.steps()
    assert (replayed.step.graphs, launched.step.graphs) == (1, 0)
    assert replayed.bits() == launched.bits()


def test_a_cpu_launches_every_step(launched: dict[str, dict[str, bytes]]) -> None:
    def plainly(device: CpuDevice) -> dict[str, bytes]:
        training = Training(device=device)
        training.step = Plain(training.net, training.optimizer)  # type: ignore[assignment]
        return training.epochs().bits()

    class Plain:
        def __init__(self, net: Network, optimizer: Optimizer):
            self.net, self.optimizer = net, optimizer

        def send(self, inputs: np.ndarray, labels: np.ndarray) -> None:
            self.given = inputs.copy(), labels.copy()

        def run(self) -> None:
            self.net.train_step(*self.given, self.optimizer)

    device = CpuDevice(1)
    training = Training(device=device)
    # nothing is copied there, so a batch has to stay as it was sent
    training.send = _send_and_leave(training)  # type: ignore[method-assign]
    assert training.epochs().bits() == plainly(device)
    assert training.step.graphs == 0


def _send_and_leave(training: Training) -> Callable[..., None]:
    def send(count: int = max(BATCHES), *, spoilt: bool = False) -> None:
        kept: list[np.ndarray] = []
        real = training.step.send

        def keep(inputs: np.ndarray, labels: np.ndarray) -> None:
            kept.extend((inputs.copy(), labels.copy()))

        training.step.send = keep  # type: ignore[method-assign]
        Training.send(training, count, spoilt=spoilt)
        training.step.send = real  # type: ignore[method-assign]
        real(*kept)

    return send


# Nothing but launches


def check_step(entries: list[Entry]) -> None:
    """A replayed step: one graph, the scalars that changed, the batch on its way, and nobody waits for the GPU."""
    kinds = [entry.kind for entry in entries]
    assert kinds.count("graph") == 1
    assert [entry.name for entry in entries if entry.kind in ("launch", "product")] == ["fill"]
    assert kinds.count("copy in") == kinds.count("copy within") == 2
    # the only thing to wait for is the pinned memory, until the copy before the last one has left it
    assert kinds.count("synchronize event") == 1
    assert not set(kinds) & set(FORBIDDEN_IN_A_STEP)


def replayed(step: list[Entry]) -> list[Entry]:
    return [entry for entry in step if entry.kind == "replay"]


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_replayed_step_allocates_nothing_and_waits_for_nothing(slope: float) -> None:
    training = Training(psp_slope=slope)
    _, _, *others = training.steps()
    for step in others:
        check_step(step)


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("count", sorted(set(BATCHES)))
def test_every_replay_has_the_same_pointers_and_scalars(slope: float, count: int) -> None:
    _, second, *others = (replayed(step) for step in Training(psp_slope=slope).steps(count))
    assert len(second) > 20
    assert all(step == second for step in others)


def work(step: list[Entry]) -> list[tuple[Any, ...]]:
    """What a step enqueues, but for the memory that CuPy's products of stacks take by the way."""
    mine = [entry for entry in step if entry.kind in ("launch", "product") and entry.name != "fill"]
    return [(entry.name, entry.scalars, () if entry.kind == "product" else entry.pointers) for entry in mine]


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_launched_steps_too_differ_in_nothing(slope: float) -> None:
    """What a capture would freeze: a pointer or a scalar that depends on the step's number."""
    steps = [work(step) for step in Training(psp_slope=slope, capture=False).steps()]
    assert len(steps[0]) > 20
    assert all(step == steps[0] for step in steps)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_single_products_take_no_memory(slope: float) -> None:
    """Launched kernel by kernel, with `gemm` a step allocates nothing either: CuPy only copies stacks of matrices."""
    training = Training(psp_slope=slope, capture=False, convolution="gemm")
    _, *others = training.steps()
    for step in others:
        assert not {entry.kind for entry in step} & set(FORBIDDEN_IN_A_STEP)


def test_launches_differ_where_psp_slope_is_0() -> None:
    training = Training(psp_slope=0.0)
    at_zero = replayed(training.steps(steps=3)[-1])
    training.net.psp_slope = 0.01
    above = replayed(training.steps(steps=3)[-1])
    assert training.step.graphs == 2
    assert at_zero != above
    training.net.psp_slope = 0.7
    assert replayed(training.run()) == above
    training.net.psp_slope = 0.0
    assert replayed(training.run()) == at_zero


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_host_memory_of_replayed_steps(optimizer: str) -> None:
    training = Training(Machine(ORDERS[-1]), optimizer=optimizer)
    training.steps()
    batch = np.zeros((8, 9, 8, 2), np.float32), np.zeros(8, np.int32)
    tracemalloc.start()
    try:
        training.machine.log.clear()
        training.step.send(*batch)
        training.step.run()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # the log, and objects that carry no arrays
    assert peak < 200 << 10


# Steps that break a promise


def plant(training: Training, fault: Callable[[], None]) -> None:
    """The fault happens in every step."""
    real = training.net.train_step

    def faulty(*arguments: Any) -> None:
        real(*arguments)
        fault()

    training.net.train_step = faulty  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", ["allocation", "expression", "assignment", "read back", "copied in", "waits"])
def test_a_step_that_does_more_than_launch_is_not_captured_and_seen(fault: str) -> None:
    training = Training(psp_slope=1.0, convolution="gemm")
    device, values = training.device, training.net.parameters.values
    faults: dict[str, tuple[Callable[[], Any], str]] = {
        "allocation": (lambda: device.to_device(values[:0] * 1), "expression"),
        "expression": (lambda: values + 1, "expression"),
        "assignment": (lambda: values[:3].__setitem__(slice(None), values[3:6]), "expression"),
        "read back": (training.net.loss.read, "copy to host"),
        "copied in": (lambda: device.to_device(np.zeros(3, np.float32)), "pageable copy"),
        "waits": (device.synchronize, "synchronize stream"),
    }
    plant(training, faults[fault][0])
    last = training.steps()[-1]
    assert training.step.graphs == 0
    assert len(training.machine.violations) == 1
    assert faults[fault][1] in {entry.kind for entry in last}
    with pytest.raises(AssertionError):
        check_step(last)


def test_memory_that_others_are_given_is_not_captured() -> None:
    machine = Machine()
    device, stream = machine.device(), machine.stream("steps")
    stream.begin_capture()
    with stream, pytest.raises(RuntimeError, match="memory that others"):
        device.xp.empty(3, np.float32)
    with pytest.raises(RuntimeError, match="invalidated"):
        stream.end_capture()


@pytest.mark.parametrize("fault", ["pointer", "scalar"])
def test_a_step_that_changes_from_step_to_step_is_seen(fault: str) -> None:
    training = Training(capture=False)
    ends = training.device.xp.empty(100, np.float32)
    places = iter(range(100))

    def changing() -> None:
        place = next(places)
        array, value = (ends[place : place + 1], 0.0) if fault == "pointer" else (ends[:1], float(place))
        training.device.launch("copy", 1, array, ends[99:], 1)
        training.device.launch("add", 1 + int(value), ends[: 1 + int(value)], ends[: 1 + int(value)], 1 + int(value))

    plant(training, changing)
    first, *others = (work(step) for step in training.steps())
    assert all(step != first for step in others)


def test_a_learning_rate_by_assignment_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def assign(self: Optimizer, value: float) -> None:
        self._lr = value
        self._rate[...] = value

    training = Training()
    training.steps()
    monkeypatch.setattr(Optimizer, "lr", property(lambda self: self._lr, assign))
    with pytest.raises(AssertionError):
        check_step(training.run())


def test_numbers_frozen_into_the_graph_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, launched: dict[str, dict[str, bytes]]
) -> None:
    """Where device memory does not learn of a new psp_slope, nor does the graph."""

    def host_only(self: PspSlope, value: float) -> None:
        self._value = value

    monkeypatch.setattr(PspSlope, "value", property(lambda self: self._value, host_only))
    assert Training().epochs().bits() != launched["adam"]


def test_a_graph_of_other_launches_would_be_seen(
    monkeypatch: pytest.MonkeyPatch, launched: dict[str, dict[str, bytes]]
) -> None:
    """Where recordings were told apart by the batch size alone."""
    real = TrainingStep._launch

    def always_above_zero(self: TrainingStep, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Network, "psp_slope", 1.0)
            real(self, *arguments)

    monkeypatch.setattr(TrainingStep, "_launch", always_above_zero)
    assert Training().epochs().bits() != launched["adam"]


# The order of copies and steps


def test_the_next_batch_arrives_while_a_step_computes() -> None:
    training = Training()
    training.steps()
    steps, copies = training.machine.stream("steps"), training.machine.stream("copies")
    for stream in training.machine.streams:
        stream.drain()

    training.run()
    training.send()
    before = len(copies.queue)
    copies.advance()
    assert 0 < len(copies.queue) < before, "the copy may not begin before the step has taken its own batch over"
    null = training.machine.stream("null")
    null.advance()
    while copies.queue:
        steps.run_one()
        copies.advance()
    # all of the graph is still to come
    assert len(steps.queue) > 20


def test_a_step_does_not_begin_before_its_batch_is_there() -> None:
    training = Training()
    training.steps()
    for stream in training.machine.streams:
        stream.drain()
    training.run()
    steps = training.machine.stream("steps")
    training.machine.stream("null").advance()
    steps.advance()
    assert len(steps.queue) > 20


NO_EVENT = Event(Machine())


class Unordered(Streams):
    """Leaves out one wait."""

    without = ""

    def copy_in(self, pairs: Any, *, after: Any, done: Any) -> None:
        super().copy_in(pairs, after=NO_EVENT if self.without == "taken" else after, done=done)

    def copy_within(self, pairs: Any, *, after: Any, done: Any) -> None:
        super().copy_within(pairs, after=NO_EVENT if self.without == "copied" else after, done=done)


@pytest.mark.parametrize(
    ("missing", "order"),
    [("taken", ("copies",)), ("copied", ("steps",)), ("pinned", ()), ("before", ("steps",)), ("after", ())],
)
def test_every_wait_is_needed(
    missing: str, order: tuple[str, ...], launched: dict[str, dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(Machine(order))
    streams = training.device.streams
    assert isinstance(streams, Streams)
    streams.__class__ = type("Broken", (Unordered,), {"without": missing})
    if missing == "pinned":
        monkeypatch.setattr(Event, "synchronize", lambda self: None)
    if missing in ("before", "after"):
        event = getattr(streams, f"_{missing}")
        real = Stream.wait_event
        monkeypatch.setattr(Stream, "wait_event", lambda self, other: None if other is event else real(self, other))
    assert training.epochs().bits() != launched["adam"]


def test_the_trainer_sends_a_batch_before_it_waits_for_the_step_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = machine_of_the_commands(monkeypatch)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_READINGS", -1)
    assert train(*small(tmp_path / "run", tune=False)).code == 0
    happened = [kind for kind in machine.kinds() if kind in ("copy in", "graph", "copy to host")]
    # reading after each step: of this step's graph, the next batch, only then the loss
    ahead = ["graph", "copy in", "copy in", "copy to host"]
    in_a_row = sum(happened[place : place + 4] == ahead for place in range(len(happened)))
    assert in_a_row == happened.count("graph") - 1 > 15, "but for the very last step"


# Trainer and commands


def machine_of_the_commands(patch: pytest.MonkeyPatch) -> Machine:
    """Every command's device is the stand-in from now on."""
    machine = Machine()
    device = machine.device()
    patch.setattr(devices, "get", lambda name, threads=None: (device, "a stand-in"))
    return machine


CHANGING = {
    "training__epochs": 3,
    "network__psp_slope": "{from: 0, to: 1, end: 0.6}",
    "optimizer__clip_norm": 0.5,
    "schedule__name": "cosine",
    "schedule__warmup": 5,
    "tune": False,
}


def files(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in ("best.safetensors", "last.safetensors")}


def test_a_run_by_graphs_leaves_the_files_of_a_launched_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_of_the_commands(monkeypatch)
    assert train(*small(tmp_path / "graphs", **CHANGING)).code == 0
    assert machine.violations == []
    assert machine.kinds().count("graph") > 20
    machine_of_the_commands(monkeypatch)
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    assert train(*small(tmp_path / "launches", **CHANGING)).code == 0
    log = (tmp_path / "launches" / "log.txt").read_text()
    assert log.count("kernel by kernel, not as one CUDA graph: CUDA_LAUNCH_BLOCKING is set") == 1
    assert files(tmp_path / "graphs") == files(tmp_path / "launches")
    assert timeless(tmp_path / "graphs") == timeless(tmp_path / "launches")

    # interrupted in the middle of an epoch of replays, and resumed with launches, and the other way round
    for blocking in ("0", "1"):
        machine_of_the_commands(monkeypatch)
        monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", blocking)
        broken = tmp_path / f"broken-{blocking}"
        with monkeypatch.context() as patch:
            interrupt_at_step(patch, 17)
            assert train(*small(broken, **CHANGING)).code == 130
        assert evaluate(broken).code == 0
        monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", str(1 - int(blocking)))
        assert train("--resume", broken).code == 0
        assert files(broken) == files(tmp_path / "graphs")


def interrupt_at_step(patch: pytest.MonkeyPatch, number: int) -> None:
    steps = iter(range(1, 1000))
    real = TrainingStep.run

    def run(self: TrainingStep) -> None:
        if next(steps) == number:
            raise KeyboardInterrupt
        real(self)

    patch.setattr(TrainingStep, "run", run)


def test_an_epoch_reads_nothing_until_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_of_the_commands(monkeypatch)
    monkeypatch.setattr(trainer, "SECONDS_BETWEEN_READINGS", 1000)
    assert train(*small(tmp_path / "run", tune=False, training__epochs=2)).code == 0
    graphs = [place for place, kind in enumerate(machine.kinds()) if kind == "graph"]
    # of the second epoch, which is replayed from its first step to its last
    second = machine.kinds()[graphs[-11] : graphs[-1]]
    assert second.count("graph") == 10
    assert not set(second) & set(FORBIDDEN_IN_A_STEP)


# Without graphs


def test_a_driver_that_does_not_capture(
    caplog: pytest.LogCaptureFixture, launched: dict[str, dict[str, bytes]]
) -> None:
    with caplog.at_level(logging.INFO, "ttfs_cupy"):
        training = Training(Machine(refuses_capture=True)).epochs()
    assert [record.getMessage() for record in caplog.records] == [
        "training steps are launched kernel by kernel, not as one CUDA graph: this driver does not capture"
    ]
    assert training.step.graphs == 0
    assert training.bits() == launched["adam"]


def test_an_interruption_while_a_step_is_recorded(launched: dict[str, dict[str, bytes]]) -> None:
    training = Training()
    training.run()
    real, interrupted = training.net.differentiate, iter([True])

    def interrupt(*arguments: Any) -> None:
        real(*arguments)
        if next(interrupted, False):
            raise KeyboardInterrupt

    training.net.differentiate = interrupt  # type: ignore[method-assign]
    before = training.bits()
    with pytest.raises(KeyboardInterrupt):
        training.run()
    # nothing of that step was done, and nothing is left of the recording
    assert training.bits() == before
    assert training.machine.violations == []
    training.steps()
    assert training.step.graphs == 1


# Plans


def test_a_network_planned_anew_is_recorded_anew() -> None:
    results = []
    for capture in (True, False):
        training = Training(capture=capture)
        training.steps()
        old = weakref.ref(training.net.planned)
        training.net.run(training.device.to_device(np.ones((20, 9, 8, 2), np.float32)))
        gc.collect()
        assert old() is None, "the old plan keeps its memory"
        training.steps()
        assert training.step.graphs == int(capture)
        results.append(training.bits())
    assert results[0] == results[1]


def test_a_graph_on_memory_that_was_given_back_would_be_seen() -> None:
    training = Training()
    training.steps()
    training.net.run(training.device.to_device(np.ones((20, 9, 8, 2), np.float32)))
    gc.collect()
    training.step._plan = lambda: training.net.planned
    with pytest.raises(AssertionError, match="given back"):
        training.run()


def test_more_images_than_a_step_is_for() -> None:
    for device in (CpuDevice(1), Machine().device()):
        training = Training(device=device)
        with pytest.raises(ValueError, match="a batch of 9 images was sent to a step for up to 8"):
            training.send(9)


# The stand-in itself


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    assert machine.violations == []


def test_the_stand_in_is_asynchronous(machine: Machine) -> None:
    device = machine.device()
    assert isinstance(device, CudaDevice) and device.target == "cuda"
    total, term = (device.to_device(np.full(5, value, np.float32)) for value in (1, 2))
    assert type(total) is Array
    device.launch("add", 5, total, term, 5)
    assert total.view(np.ndarray).tolist() == [1] * 5
    assert device.to_host(total).tolist() == [3] * 5


def test_the_stand_in_refuses_what_numpy_would_do_by_itself(machine: Machine) -> None:
    array = machine.device().to_device(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="does not take arrays of a GPU"):
        np.concatenate([array, array])
    with pytest.raises(TypeError, match="on the host"):
        array.tobytes()
