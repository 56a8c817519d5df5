"""Training steps as CUDA graphs, on a GPU made of NumPy (cuda_stand_in): the same bits, and nothing but launches.

Each promise is tested twice: that it is kept, and that a step which breaks it would be found out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import FORBIDDEN_IN_A_STEP, Entry, Machine, device_of
from emulator import why_not
from helpers.stepping import BATCHES, EPOCHS, OPTIMIZERS, ORDERS, MixedTraining, Training, launched

from ttfs_cupy.device import CpuDevice
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Optimizer
from ttfs_cupy.engine.steps.batch_step import BatchStep
from ttfs_cupy.neuron import PspSlope

# The same bits


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replayed_steps_leave_the_bits_of_launched_ones(optimizer: str, order: tuple[str, ...]) -> None:
    training = Training(Machine(order), optimizer=optimizer).epochs()
    assert training.machine.violations == []
    # two batch sizes, each with psp_slope 0 and above
    assert training.step.graphs == 4
    counts = training.optimizer.counts
    assert (counts.applied, counts.skipped) == (EPOCHS * len(BATCHES) - 1, 1)
    assert (counts.clipped > 0) == (optimizer != "adam")
    assert training.bits() == launched(optimizer)


@pytest.mark.parametrize("order", ORDERS)
def test_an_average_is_part_of_the_graph(order: tuple[str, ...]) -> None:
    replayed, launched = (Training(Machine(order), decay=0.9, capture=capture) for capture in (True, False))
    for training in (replayed, launched):
        training.epochs()
        assert training.machine.violations == []
    assert (replayed.step.graphs, launched.step.graphs) == (4, 0)
    assert replayed.bits() == launched.bits()
    # and what it follows goes its way without it
    assert replayed.bits().items() > Training(Machine(order)).epochs().bits().items()


def test_an_average_in_place_leaves_a_graph_as_it_is() -> None:
    visited, plain = Training(Machine(), decay=0.9), Training(Machine(), decay=0.9)
    for training in (visited, plain):
        training.steps()
        assert training.average is not None
        if training is visited:
            with training.average.in_place():
                pass
        _, last = training.steps(steps=2)
        check_step(last)
        assert training.step.graphs == 1
    assert visited.machine.violations == plain.machine.violations == []
    assert visited.bits() == plain.bits()


def test_a_graph_is_not_launched_while_an_average_is_in_place() -> None:
    """It would not ask the optimiser, which refuses."""
    refused, plain = Training(Machine(), decay=0.9), Training(Machine(), decay=0.9)
    for training in (refused, plain):
        training.steps()
        assert training.average is not None and training.step.graphs == 1
        training.send()
        if training is refused:
            with training.average.in_place(), pytest.raises(ValueError, match="averaged weights are in place"):
                training.step.run()
        training.step.run()
    assert refused.bits() == plain.bits()


@pytest.mark.parametrize("order", ORDERS)
def test_of_mixed_batches_too(order: tuple[str, ...]) -> None:
    training = MixedTraining(Machine(order)).epochs()
    assert training.machine.violations == []
    # of the whole size mixed and plain, of the smaller one mixed, each with psp_slope 0 and above
    assert training.step.graphs == 6
    assert training.bits() == launched("adam", kind=MixedTraining) != launched("adam")
    assert training.optimizer.counts.applied == EPOCHS * len(BATCHES) - 1


@pytest.mark.parametrize("rule", [{"clip": "separate"}, {"readout": "spike_times"}, {"encoding": "direct"}])
def test_whatever_the_rule_of_the_neurons(rule: dict[str, Any]) -> None:
    replayed, launched = (Training(capture=capture, **rule) for capture in (True, False))
    for training in (replayed, launched):
        training.steps()
    assert (replayed.step.graphs, launched.step.graphs) == (1, 0)
    assert replayed.bits() == launched.bits()


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_on_tensor_cores() -> None:
    """Cooperative kernels, in the emulator, are part of the graph."""

    def trained(*, capture: bool) -> Training:
        machine = Machine()
        training = Training(machine, device=device_of(machine, (9, 0)), capture=capture).epochs()
        assert machine.violations == []
        return training

    replayed, launched = trained(capture=True), trained(capture=False)
    assert "tensorcore" in replayed.net.algorithms.values()
    assert (replayed.step.graphs, launched.step.graphs) == (4, 0)
    assert replayed.bits() == launched.bits()


def test_a_cpu_launches_every_step() -> None:
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

        def flush(self) -> None:
            pass

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
    assert {entry.name for entry in entries if entry.kind in ("launch", "product")} == {"fill"}
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


def test_a_new_psp_slope_is_one_more_launch() -> None:
    training = Training()
    training.steps()
    first = len(training.machine.log)
    training.net.psp_slope = 0.3
    training.run()
    entries = training.machine.log[first:]
    check_step(entries)
    filled = [entry.scalars[0] for entry in entries if entry.name == "fill"]
    assert filled[0] == np.float32(0.3) and len(filled) == 2


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("count", sorted(set(BATCHES)))
def test_every_replay_has_the_same_pointers_and_scalars(slope: float, count: int) -> None:
    _, second, *others = (replayed(step) for step in Training(psp_slope=slope).steps(count))
    assert len(second) > 20
    assert all(step == second for step in others)


def work(step: list[Entry]) -> list[tuple[Any, ...]]:
    """What a step enqueues."""
    mine = [entry for entry in step if entry.kind in ("launch", "product") and entry.name != "fill"]
    return [(entry.name, entry.scalars, entry.pointers) for entry in mine]


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_launched_steps_too_differ_in_nothing(slope: float) -> None:
    """What a capture would freeze: a pointer or a scalar that depends on the step's number."""
    steps = [work(step) for step in Training(psp_slope=slope, capture=False).steps()]
    assert len(steps[0]) > 20
    assert all(step == steps[0] for step in steps)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_single_products_take_no_memory(slope: float) -> None:
    """Launched kernel by kernel a step allocates nothing either."""
    training = Training(psp_slope=slope, capture=False)
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


# Steps that break a promise


def plant(training: Training, fault: Callable[[], None]) -> None:
    """The fault happens in every step."""
    real = training.net.differentiate

    def faulty(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        fault()

    training.net.differentiate = faulty  # type: ignore[method-assign]


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
    device, stream = device_of(machine), machine.stream("steps")
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
        size = 1 + int(value)
        training.device.launch("copy", size, ends[:size], ends[50 : 50 + size], size)

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


def test_numbers_frozen_into_the_graph_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where device memory does not learn of a new psp_slope, nor does the graph."""

    def host_only(self: PspSlope, value: float) -> None:
        self._value = value

    wanted = launched("adam")
    monkeypatch.setattr(PspSlope, "value", property(lambda self: self._value, host_only))
    assert Training().epochs().bits() != wanted


def test_a_graph_of_other_launches_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where recordings were told apart by the batch size alone."""
    real = BatchStep._launch

    def always_above_zero(self: BatchStep, *arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Network, "psp_slope", 1.0)
            real(self, *arguments)

    wanted = launched("adam")
    monkeypatch.setattr(BatchStep, "_launch", always_above_zero)
    assert Training().epochs().bits() != wanted
