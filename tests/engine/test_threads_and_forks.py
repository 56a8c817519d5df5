"""One network, several threads; a forked child; copies and pickles."""

import copy
import gc
import multiprocessing
import os
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.any_threads import AnyThreads
from helpers.small_network import CLASSES, SHAPE, SPEC, build, images

from ttfs_cupy import models
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation import cpu_library
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Sgd
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep

LABELS = np.arange(4, dtype=np.int32)
FORK = multiprocessing.get_context("fork")


def image_set() -> ImageSet:
    random = np.random.default_rng(0)
    return ImageSet(random.integers(0, 256, (40, 7, 9, 2), np.uint8), np.arange(40, dtype=np.int32) % CLASSES)


@contextmanager
def beside(body: Callable[[], object]) -> Iterator[None]:
    """Another thread calls it over and over meanwhile."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            body()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# Threads


def test_threads_take_turns() -> None:
    net = models.build(SPEC, SHAPE, CLASSES, CpuDevice(2))
    batches = [net.encode(images(1 + number % 5, number)) for number in range(8)]
    expected = [net.forward(batch) for batch in batches]
    gradients = [net.loss_and_gradients(batch, LABELS[:1].repeat(len(batch)))[1] for batch in batches]
    start = threading.Barrier(8)

    def work(number: int) -> int:
        start.wait()
        wrong = 0
        for _ in range(25):
            wrong += not (net.forward(batches[number]) == expected[number]).all()
            _, found = net.loss_and_gradients(batches[number], LABELS[:1].repeat(len(batches[number])))
            wrong += any((found[name] != gradients[number][name]).any() for name in found)
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [0] * 8


def test_an_evaluation_is_not_disturbed_by_other_threads(net: Network) -> None:
    batches = Batches(image_set(), 8, encode=net.encoder)
    alone = Evaluator(net, 8).over(batches, "alone")
    with beside(lambda: net.loss_and_gradients(net.encode(images(3)), LABELS[:3])):
        assert [Evaluator(net, 8).over(batches, "disturbed") for _ in range(5)] == [alone] * 5


def test_a_step_serves_one_thread(net: Network) -> None:
    step = TrainingStep(net, Adam(net.device, net.parameters), 4)
    step.send(net.encode(images(4)), LABELS)
    with ThreadPoolExecutor(1) as pool:
        for call in (lambda: step.send(net.encode(images(4)), LABELS), step.run):
            with pytest.raises(ValueError, match="a TrainingStep serves one thread"):
                pool.submit(call).result()
    step.run()


def test_every_thread_computes_on_the_networks_gpu() -> None:
    """CuPy has a current GPU for each thread, and begins with the first."""
    machine = Machine()
    device = device_of(machine, index=1)

    def train(net: Network) -> dict[str, np.ndarray]:
        optimizer = Adam(device, net.parameters)
        step, evaluator = TrainingStep(net, optimizer, 4), Evaluator(net, 8)
        inputs = device.to_host(net.encode(images(4)))
        for _ in range(4):
            step.send(inputs, LABELS)
            step.run()
        evaluator.over(Batches(image_set(), 8, encode=net.encoder), "another thread")
        net.spike_times()
        copy.deepcopy(net).forward(inputs)
        optimizer.load_state_dict(optimizer.state_dict())
        return net.state_dict()

    expected = train(models.build(SPEC, SHAPE, CLASSES, device))
    net = models.build(SPEC, SHAPE, CLASSES, device)
    machine.gpu = 0  # of this thread, as a device that is made later leaves it
    for found in (ThreadPoolExecutor(1).submit(train, net).result(), train(models.build(SPEC, SHAPE, CLASSES, device))):
        assert all((found[name] == values).all() for name, values in expected.items())


def test_two_networks_on_one_gpu_take_turns_in_its_streams() -> None:
    """A step while the other network's is recorded was an error in one thread, and no graph in the other."""

    def trained(*, at_once: bool) -> tuple[dict[str, np.ndarray], ...]:
        device = device_of(Machine())
        pairs = [(net, Adam(device, net.parameters)) for net in (models.build(SPEC, SHAPE, CLASSES, device),)]
        pairs.append(copy.deepcopy(pairs[0]))
        steps = [TrainingStep(*pair, 4) for pair in pairs]
        inputs = device.to_host(pairs[0][0].encode(images(4)))

        def step(which: int) -> None:
            steps[which].send(inputs, LABELS)
            steps[which].run()

        with ThreadPoolExecutor(1) as other:
            step(0)
            other.submit(step, 1).result()
            work = steps[0]._work
            beside = []

            def recorded(*given: Any) -> None:
                if at_once:
                    beside.append(other.submit(step, 1))
                    time.sleep(0.1)  # enough for a thread that does not wait
                work(*given)

            steps[0]._work = recorded  # type: ignore[method-assign]
            step(0)
            (beside[0] if at_once else other.submit(step, 1)).result()
        assert [one.graphs for one in steps] == [1, 1]
        return tuple(net.state_dict() for net, _ in pairs)

    for alone, beside in zip(trained(at_once=False), trained(at_once=True), strict=True):
        assert all((beside[name] == values).all() for name, values in alone.items())


# Forks


def in_child(body: Any) -> Any:
    """What body returns in a forked process, or the exception that it raises; fails if it takes more than 20 s."""
    ours, theirs = FORK.Pipe()

    def child() -> None:
        try:
            theirs.send(body())
        except Exception as error:
            theirs.send(error)

    process = FORK.Process(target=child)
    process.start()
    try:
        assert ours.poll(20), "the child hangs"
        return ours.recv()
    finally:
        process.kill()
        process.join()


def test_a_forked_child_computes_with_its_parents_network() -> None:
    # so much work that threads share it
    net = models.build([32, 32, "P", 32], (3, 32, 32), 10, AnyThreads(2))
    pixels = np.random.default_rng(0).random((16, 3, 32, 32), np.float32)
    expected = net.forward(net.encode(pixels))
    found = in_child(lambda: net.forward(net.encode(pixels)))
    assert isinstance(found, np.ndarray) and (found == expected).all()


def test_a_child_does_not_wait_for_a_thread_of_its_parent(net: Network) -> None:
    with net.turns.take():  # by this thread here, and by nobody in the child's other one
        found = in_child(lambda: ThreadPoolExecutor(1).submit(net.forward, net.encode(images(2))).result())
    assert isinstance(found, np.ndarray) and (found == net.forward(net.encode(images(2)))).all()


def test_an_epoch_goes_on_in_a_child(net: Network) -> None:
    epoch = Batches(image_set(), 8, encode=net.encoder).epoch(0)
    next(epoch)
    found = in_child(lambda: next(epoch))
    assert (found.inputs == next(epoch).inputs).all()


# What a child may try with a network of its parent's GPU. given: inputs and labels on it.
ON_A_GPU: dict[str, Callable[["OnGpu"], Any]] = {
    "encode": lambda on: on.net.encode(images(2)),
    "forward": lambda on: on.net.forward(on.inputs),
    "run": lambda on: on.net.run(on.inputs),
    "spike_times": lambda on: on.net.spike_times(),
    "state_dict": lambda on: on.net.state_dict(),
    "load_state_dict": lambda on: on.net.load_state_dict(on.state),
    "loss.read": lambda on: on.net.loss.read(),
    "loss.add": lambda on: on.net.loss.add(on.inputs, on.labels),
    "loss_and_gradients": lambda on: on.net.loss_and_gradients(on.inputs, LABELS),
    "train_step": lambda on: on.net.train_step(on.inputs, on.labels, on.optimizer),
    "psp_slope": lambda on: setattr(on.net, "psp_slope", 0.25),
    "lr": lambda on: setattr(on.optimizer, "lr", 0.25),
    "plan": lambda on: on.net.plan(64, training=True),
    "tune": lambda on: on.net.tune(4),
    "counts": lambda on: on.optimizer.counts,
    "optimizer.state_dict": lambda on: on.optimizer.state_dict(),
    "optimizer.step": lambda on: on.optimizer.step(),
    "average.follow": lambda on: on.average.follow(),
    "average.in_place": lambda on: on.average.in_place().__enter__(),
    "average.state_dict": lambda on: on.average.state_dict(),
    "a new average": lambda on: WeightAverage(on.optimizer, 0.9),
    "a new optimiser": lambda on: Sgd(on.net.device, on.net.parameters),
    "a new network": lambda on: models.build(SPEC, SHAPE, CLASSES, on.net.device),
    "a new step": lambda on: TrainingStep(on.net, on.optimizer, 4).send(on.host, LABELS),
    "each": lambda on: next(on.step.each(Batches(image_set(), 4, encode=on.net.encoder), 0)),
    "epoch": lambda on: next(Batches(image_set(), 4, encode=on.net.encoder).epoch(0, on.net.device)),
    "send": lambda on: on.step.send(on.host, LABELS),
    "step.run": lambda on: on.step.run(),
    "evaluation": lambda on: Evaluator(on.net, 8).over(Batches(image_set(), 8, encode=on.net.encoder), ""),
    "array": lambda on: on.net.device.to_host(on.inputs),
    "multiply": lambda on: on.net.device.multiply(None, None, None),
    "synchronize": lambda on: on.net.device.synchronize(),
    "free_bytes": lambda on: on.net.device.free_bytes(),
}


class OnGpu:
    """A network that has trained on a stand-in for the GPU, and what lies there."""

    def __init__(self) -> None:
        device = device_of(Machine())
        self.net = models.build(SPEC, SHAPE, CLASSES, device)
        self.optimizer = Adam(device, self.net.parameters)
        self.average = WeightAverage(self.optimizer, 0.9)
        self.step = TrainingStep(self.net, self.optimizer, 4)
        self.inputs = self.net.encode(images(4))
        self.host = device.to_host(self.inputs)
        self.labels = device.to_device(LABELS)
        self.state = self.net.state_dict()
        for _ in range(3):
            self.step.send(self.host, LABELS)
            self.step.run()
        self.step.send(self.host, LABELS)
        self.net.loss.read()


def test_a_gpu_of_the_parent_is_refused_in_a_child() -> None:
    """Each call by one sentence: CUDA's own would fail, or hang, or leave a device that is of no use any more."""
    on = OnGpu()

    def outcomes() -> dict[str, str]:
        found = {}
        for name, call in ON_A_GPU.items():
            try:
                found[name] = f"returned {call(on)!r:.40}"
            except Exception as error:
                found[name] = f"{type(error).__name__}: {error}"
        return found

    said = "UserError: cuda:0 was opened before this process was forked, and CUDA does not survive that: start "
    found = in_child(outcomes)
    assert {name: text for name, text in found.items() if not text.startswith(said)} == {}
    # and the parent goes on
    before = on.net.state_dict()["conv1.weight"].copy()
    on.step.run()
    on.net.loss.read()
    assert (on.net.state_dict()["conv1.weight"] != before).any()


def test_a_fork_while_kernels_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the child they are loaded anew: nobody waits there for the thread that was loading them."""
    net = models.build([32, 32, "P", 32], (3, 32, 32), 10, AnyThreads(2))
    pixels = np.random.default_rng(0).random((16, 3, 32, 32), np.float32)
    expected = net.forward(net.encode(pixels))
    device, load, parent = net.device, cpu_library.load, os.getpid()
    loading, forked = threading.Event(), threading.Event()

    def slow() -> Any:
        if os.getpid() == parent:
            loading.set()
            assert forked.wait(60)
        return load()

    monkeypatch.setattr(cpu_library, "load", slow)
    monkeypatch.setattr(device, "_loaded", None)
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(net.forward, net.encode(pixels))
        try:
            assert loading.wait(60)
            found = in_child(lambda: net.forward(net.encode(pixels)))
        finally:
            forked.set()
        assert (ours.result() == expected).all()
    assert isinstance(found, np.ndarray) and (found == expected).all()


class _Destroyed:
    """As CuPy's streams and events do, it asks CUDA for its end."""

    def __init__(self, process: int, said: list[str]):
        self._process, self._said = process, said

    def __del__(self) -> None:
        if os.getpid() != self._process:
            self._said.append("destroyed in the child")


def test_what_a_child_has_of_its_parents_gpu_is_not_destroyed_there() -> None:
    device = device_of(Machine())
    said: list[str] = []
    for name in vars(device.streams):
        setattr(device.streams, name, _Destroyed(os.getpid(), said))
    weakref.finalize(device._cublas, said.append, "cuBLAS")
    # the child's own `said`
    assert in_child(lambda: (gc.collect(), said)[1]) == []


# Copies


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("where", ["cpu", "GPU"])
def test_a_copy_is_a_network_of_its_own(copied: Any, where: str) -> None:
    device = CpuDevice(2) if where == "cpu" else device_of(Machine())
    if where == "GPU" and copied not in (copy.copy, copy.deepcopy):
        pytest.skip("a stand-in cannot be pickled")
    net = models.build(SPEC, SHAPE, CLASSES, device, psp_slope=0.5)
    encoded = net.encode(images(4))
    potentials = device.to_host(net.forward(encoded))
    other = copied(net)
    assert (device.to_host(other.forward(device.to_host(encoded))) == potentials).all()
    assert other.psp_slope == 0.5 and other.summary() == net.summary()
    # what one learns the other does not
    before = {name: values.copy() for name, values in net.state_dict().items()}
    labels = other.device.to_device(LABELS)
    other.train_step(other.device.to_device(device.to_host(encoded)), labels, Adam(other.device, other.parameters))
    other.psp_slope = 1.0
    assert net.psp_slope == 0.5 and (device.to_host(net.forward(encoded)) == potentials).all()
    assert all((net.state_dict()[name] == before[name]).all() for name in before)
    assert any((other.state_dict()[name] != before[name]).any() for name in before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_network_and_its_optimiser_go_on_together(copied: Any) -> None:
    """With the same bits as if they had not been copied."""
    net = build()
    optimizer = Adam(net.device, net.parameters)
    encoded = net.encode(images(4))
    net.train_step(encoded, LABELS, optimizer)
    other, other_optimizer = copied((net, optimizer))
    for _ in range(3):
        net.train_step(encoded, LABELS, optimizer)
        other.train_step(encoded, LABELS, other_optimizer)
    for name, values in net.state_dict().items():
        assert (other.state_dict()[name] == values).all()
    assert other_optimizer.counts == optimizer.counts


def test_an_evaluators_batch_beside_other_threads(net: Network) -> None:
    """run() and the loss of its view are one turn."""
    evaluator = Evaluator(net, 4)
    inputs = net.encode(images(4))
    net.plan(4)

    def loss() -> float:
        net.loss.reset()
        evaluator.send(inputs, LABELS)
        evaluator.run()
        return net.loss.read().loss

    alone = loss()

    other = net.encode(images(3, 5))
    with beside(lambda: net.run(other)):
        assert {loss() for _ in range(500)} == {alone}


def test_a_copied_optimiser_beside_a_writer_is_of_one_moment(net: Network) -> None:
    optimizer = Sgd(net.device, net.parameters, momentum=0.5)
    velocities = [np.full(net.parameters.size, value, np.float32) for value in (0, 1)]
    states = [{**optimizer.state_dict(), "velocity": velocity} for velocity in velocities]
    optimizer.load_state_dict(states[0])

    with beside(lambda: [optimizer.load_state_dict(state) for state in states]):
        for _ in range(200):
            assert len(np.unique(copy.deepcopy(optimizer).state_dict()["velocity"])) == 1


def test_half_a_copy_is_refused(net: Network) -> None:
    """After one of the parameters the network went on with weights that nobody changed."""
    optimizer = Adam(net.device, net.parameters)
    for part in (net.parameters, optimizer):
        with pytest.raises(TypeError, match=r"use copy\.deepcopy"):
            copy.copy(part)
    before = net.state_dict()
    net.train_step(net.encode(images(4)), LABELS, optimizer)
    assert any((net.state_dict()[name] != values).any() for name, values in before.items())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_beside_a_writer_is_of_one_moment(copied: Any, net: Network) -> None:
    states = [{name: np.full_like(values, value) for name, values in net.state_dict().items()} for value in (0, 1)]
    net.load_state_dict(states[0])

    with beside(lambda: [net.load_state_dict(state) for state in states]):
        for _ in range(200):
            values = {float(number) for array in copied(net).state_dict().values() for number in array.ravel()}
            assert len(values) == 1
