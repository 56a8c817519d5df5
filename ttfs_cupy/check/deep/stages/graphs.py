"""Steps replayed as CUDA graphs: bit for bit what launches compute, one graph each; and is a NaN lost on its way?"""

import logging
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, WORKLOADS, Workload
from ttfs_cupy.check.algorithms import finite_share
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.trial import Trial
from ttfs_cupy.convolution.algorithm import Pass
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.models import build

# Launched, recorded, and replayed twice.
STEPS = 4

TINY = Workload("tiny", (16, "P", 16), (3, 8, 8))
SHAPE = ConvolutionShape((8, 8), 64, 64, (3, 3), padding=(1, 1))
BACKWARD: tuple[Pass, ...] = ("data_gradient", "weight_gradient")


@dataclass(frozen=True)
class Case:
    workload: Workload
    batch_size: int
    psp_slope: float = 1.0
    precision: str = "split"
    tuned: bool = False

    def __str__(self) -> str:
        tuned = ", tuned" if self.tuned else ""
        return f"{self.workload.name} {self.batch_size}, psp_slope {self.psp_slope:g}, {self.precision}{tuned}"


CASES = {
    "cuda": (
        Case(WORKLOADS["vgg11"], 128),
        Case(WORKLOADS["vgg11"], 128, psp_slope=0.0),
        Case(WORKLOADS["vgg7"], 64, precision="float32"),
        Case(WORKLOADS["vgg11"], 128, tuned=True),
    ),
    "cpu": (Case(TINY, 8), Case(TINY, 8, psp_slope=0.0)),
}


@dataclass(frozen=True)
class Replay:
    """Steps, replayed beside launched. graphs: how many were recorded."""

    network: str
    batch_size: int
    psp_slope: float
    precision: str
    tuned: bool
    same_bits: bool
    graphs: int
    loss: float
    algorithms: list[str]


@dataclass(frozen=True)
class NanGradient:
    """The share of a pass's result that is finite, of a gradient that is NaN wherever a neuron fired."""

    algorithm: str
    which: str
    finite: float


@dataclass(frozen=True)
class _Trained:
    bits: dict[str, bytes]
    graphs: int
    loss: float
    algorithms: list[str]


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    for case in CASES[device.target]:
        replay(notes, device, case)
    nan_gradients(notes, device)


def replay(notes: Notes, device: Device, case: Case) -> None:
    said = _Said()
    logging.getLogger("ttfs_cupy").addHandler(said)
    try:
        launched, replayed = (_trained(device, case, capture=capture) for capture in (False, True))
    finally:
        logging.getLogger("ttfs_cupy").removeHandler(said)
    same = launched.bits == replayed.bits
    about = (case.workload.name, case.batch_size, case.psp_slope, case.precision, case.tuned)
    notes.record(Replay(*about, same, replayed.graphs, replayed.loss, replayed.algorithms))
    if not same:
        notes.attention(f"{case}: a step has other bits as a graph than kernel by kernel")
    elif device.streams is None:
        notes.found(f"{case}: twice the same bits; {device.name} has no graphs")
    elif replayed.graphs != 1:
        notes.attention(f"{case}: {replayed.graphs} graphs instead of 1: {said.last}")
    else:
        notes.found(f"{case}: one graph, the same bits as launches")


def _trained(device: Device, case: Case, *, capture: bool) -> _Trained:
    workload = case.workload
    network = build(
        list(workload.spec),
        workload.input_shape,
        CLASSES,
        device=device,
        psp_slope=case.psp_slope,
        precision=case.precision,
    )
    network.load_state_dict(workload.weights())
    if case.tuned:
        network.tune(case.batch_size)
    network.plan(case.batch_size, training=True)
    step = TrainingStep(network, Adam(device, network.parameters, LEARNING_RATE), case.batch_size, capture=capture)
    images, labels = workload.batch(case.batch_size)
    inputs = device.to_host(network.encode(images))
    for _ in range(STEPS):
        step.send(inputs, labels.astype(np.int32))
        step.run()
    device.synchronize()
    bits = {key: weights.tobytes() for key, weights in network.state_dict().items()}
    return _Trained(bits, step.graphs, network.loss.read().loss, sorted(set(network.algorithms.values())))


class _Said(logging.Handler):
    """What the engine logged last."""

    last = "the log does not say why"

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def nan_gradients(notes: Notes, device: Device, shape: ConvolutionShape = SHAPE) -> None:
    """By each algorithm that fits: every input saw a neuron that fired, so nothing may come out finite."""
    lost = []
    for kind in algorithms().values():
        if kind.fits(shape, device) is not None:
            continue
        for which in BACKWARD:
            finite = finite_share(kind(device, shape), which, Trial(device, shape, 3, 1.0, pooled=False))
            notes.record(NanGradient(kind.name, which, finite))
            if finite:
                lost.append(f"{kind.name} {which} {finite:.0%}")
    if lost:
        notes.attention(f"of a gradient made of NaN comes out finite: {', '.join(lost)}")
    else:
        notes.found("a gradient made of NaN comes out finite of no algorithm")
