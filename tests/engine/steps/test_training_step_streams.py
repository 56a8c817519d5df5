"""Training steps on a GPU made of NumPy (cuda_stand_in): who waits for whom, the trainer, plans, and no graphs."""

import gc
import itertools
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import FORBIDDEN_IN_A_STEP, Array, Event, Machine, Stream, device_of
from helpers.commands import evaluate, small, timeless, train
from helpers.stepping import Training, launched

from ttfs_cupy.device import CpuDevice, CudaDevice
from ttfs_cupy.device.streams import Streams
from ttfs_cupy.engine.steps.training_step import TrainingStep

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
def test_every_wait_is_needed(missing: str, order: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert training.epochs(spoils=False).bits() != launched("adam", spoils=False)


def test_the_trainer_sends_a_batch_before_it_waits_for_the_step_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the set does not lie on the GPU."""
    machine = machine_of_the_commands(monkeypatch)
    assert train(*small(tmp_path / "run", tune=False, data__resident=0, watch__log_every=1e-9)).code == 0
    happened = [kind for kind in kinds(machine) if kind in ("copy in", "graph", "copy to host")]
    # reading after each step: of this step's graph, the next batch, only then the loss
    ahead = ["graph", "copy in", "copy to host"]
    in_a_row = sum(happened[place : place + 3] == ahead for place in range(len(happened)))
    assert in_a_row == happened.count("graph") - 1 > 15, "but for the very last step"


def test_of_a_set_that_lies_on_the_gpu_nothing_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = machine_of_the_commands(monkeypatch)
    arguments = small(tmp_path / "run", tune=False, data__augment="shift_erase", watch__log_every=1e-9)
    assert train(*arguments).code == 0
    found = kinds(machine)
    assert "copy in" not in found
    places = [place for place, kind in enumerate(found) if kind == "graph"]
    between = [found[one:next_] for one, next_ in itertools.pairwise(places)]
    # of two steps that are replayed, the second's graph is all that follows, but for numbers that change, and the loss
    usual = [set(of) for of in between if "pageable copy" not in of]
    assert len(usual) > 10 and all("expression" not in of and "allocate" not in of for of in usual)


def kinds(machine: Machine) -> list[str]:
    """Of all that the machine was asked for; of the graphs, those of evaluations by that name."""
    found = machine.kinds()
    places = [place for place, kind in enumerate(found) if kind == "graph"]
    for place, following in zip(places, [*places[1:], len(found)], strict=True):
        if not any(entry.kind == "replay" and entry.name == "adam" for entry in machine.log[place:following]):
            found[place] = "evaluation"
    return found


# Trainer and commands


def machine_of_the_commands(patch: pytest.MonkeyPatch) -> Machine:
    """Every command's device is the stand-in from now on."""
    machine = Machine()
    device = device_of(machine)
    patch.setattr("ttfs_cupy.ranks.devices.get_device", lambda name, threads=None: (device, "a stand-in"))
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
    assert log.count("all is launched kernel by kernel, not as one CUDA graph: CUDA_LAUNCH_BLOCKING is set") == 1
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
        assert evaluate(broken).code == 2  # psp_slope has not arrived
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
    assert train(*small(tmp_path / "run", tune=False, training__epochs=2, watch__log_every=1000)).code == 0
    graphs = [place for place, kind in enumerate(kinds(machine)) if kind == "graph"]
    # of the second epoch, which is replayed from its first step to its last
    second = kinds(machine)[graphs[-11] : graphs[-1]]
    assert second.count("graph") == 10
    assert not set(second) & set(FORBIDDEN_IN_A_STEP)


# Without graphs


def test_a_driver_that_does_not_capture(caplog: pytest.LogCaptureFixture) -> None:
    training = Training(Machine(refuses_capture=True)).epochs()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("training steps are launched kernel by kernel, not as one CUDA graph: ")
    assert record.getMessage().endswith(" cannot be recorded: this driver does not capture")
    assert training.step.graphs == 0
    assert training.bits() == launched("adam")


def test_an_interruption_while_a_step_is_recorded() -> None:
    training = Training()
    training.run()
    real, interrupted = training.net.differentiate, iter([True])

    def interrupt(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
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


def test_a_graph_of_another_plan_is_not_replayed_even_while_somebody_keeps_that() -> None:
    training = Training()
    training.steps()
    kept = training.net.planned
    training.net.run(training.device.to_device(np.ones((20, 9, 8, 2), np.float32)))
    assert training.net.planned is not kept
    assert "graph" not in [entry.kind for entry in training.run()]


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
    for device in (CpuDevice(1), device_of(Machine())):
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
    device = device_of(machine)
    assert isinstance(device, CudaDevice) and device.target == "cuda"
    source, target = (device.to_device(np.full(5, value, np.float32)) for value in (2, 1))
    assert type(target) is Array
    device.launch("copy", 5, source, target, 5)
    assert target.view(np.ndarray).tolist() == [1] * 5
    assert device.to_host(target).tolist() == [2] * 5


def test_the_stand_in_refuses_what_numpy_would_do_by_itself(machine: Machine) -> None:
    array = device_of(machine).to_device(np.ones((2, 3), np.float32))
    with pytest.raises(TypeError, match="does not take arrays of a GPU"):
        np.concatenate([array, array])
    with pytest.raises(TypeError, match="on the host"):
        array.tobytes()
