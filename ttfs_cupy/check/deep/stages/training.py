"""Training as a user runs it: the quickstart by its command, and vgg11 with batches that the device makes."""

import json
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, count, islice
from pathlib import Path

import numpy as np

from ttfs_cupy.benchmarks.workload import CLASSES, LEARNING_RATE, WORKLOADS, Workload
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.device import Array, Device, get_device
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.batch_step import BatchStep
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.engine.validity import Labels
from ttfs_cupy.models import build

# Of the quickstart, on the test set: a whole run reaches 0.97; the first epoch, on a CPU, says less.
EPOCHS = {"cuda": 30, "cpu": 1}
ACCURACY = {"cuda": 0.93, "cpu": 0.2}

# What training says of steps that are no graphs
NO_GRAPH = "kernel by kernel"

SMALL = Workload("small", (16, "P", 16, "P"), (3, 32, 32))
FED = {"cuda": (WORKLOADS["vgg11"], 128, 25_600), "cpu": (SMALL, 8, 64)}
# What is done to images at most: the other augmentations are parts of these
AUGMENTED = ("none", "cifar", "crop_flip", "shift_flip_erase")
# Seconds of each measurement; steps that come before: launched, recorded.
SECONDS = {"cuda": 4.0, "cpu": 0.3}
WARM_UPS = 3


@dataclass(frozen=True)
class Quickstart:
    epochs: int
    seconds: float
    test_accuracy: float
    images_per_second: float


@dataclass(frozen=True)
class Fed:
    """Images of CIFAR-10's size per second: batches alone, and as a network trains on them."""

    network: str
    batch_size: int
    augmentation: str
    batches: float
    training: float


class _Making(BatchStep):
    """Makes batches, and does nothing with them."""

    training = True
    called = "batches"

    def _work(self, inputs: Array, labels: Labels, images: int) -> None:
        pass


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    quickstart(notes, device, min(60, notes.left / 2))
    workload, batch_size, size = FED[device.target]
    for augment in AUGMENTED:
        if notes.left < 2 * SECONDS[device.target] + 1:
            return notes.attention(f"out of time before {workload.name} {batch_size} with augmentation {augment}")
        fed(notes, device, workload, batch_size, size, augment)
    return None


def quickstart(notes: Notes, device: Device, seconds: float) -> None:
    """In a process of its own, which must end in time."""
    if find_spec("sklearn") is None:
        return notes.found("scikit-learn, which brings the digits, is not installed: the quickstart is not run")
    epochs = EPOCHS[device.target]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = [sys.executable, "-m", "ttfs_cupy.train", "quickstart", "--device", device.name, "--no-tune"]
        command += ["--output", str(output), "--seed", "0", "--set", f"training.epochs={epochs}"]
        start = time.monotonic()
        ended = tools.run(command, seconds)
        seconds = time.monotonic() - start
        notes.say(ended.short(3000))
        if ended.code != 0:
            return notes.attention(f"the quickstart {ended.ending}")
        *lines, last = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    found = Quickstart(epochs, seconds, last["test_accuracy"], lines[-1]["images_per_second"])
    notes.record(found)
    if device.streams is not None and NO_GRAPH in ended.text:
        notes.attention("the quickstart's steps were launched kernel by kernel, not as graphs: its log says why")
    text = f"quickstart, {epochs} epochs in {seconds:.1f} s: test accuracy {found.test_accuracy:.1%}, "
    text += f"{found.images_per_second:.0f} images/s"
    return (notes.found if found.test_accuracy >= ACCURACY[device.target] else notes.attention)(text)


def fed(notes: Notes, device: Device, workload: Workload, batch_size: int, size: int, augment: str) -> None:
    channels, height, width = workload.input_shape
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (size, height, width, channels), dtype=np.uint8)
    images = ImageSet(pixels, draw.integers(0, CLASSES, size).astype(np.int32))
    network = build(list(workload.spec), workload.input_shape, CLASSES, device=device, psp_slope=1.0)
    network.plan(batch_size, training=True)
    batches = Batches(images, batch_size, encode=network.encoder, shuffle=True, augment=augment)
    steps = (
        _Making(network, batch_size),
        TrainingStep(network, Adam(device, network.parameters, LEARNING_RATE), batch_size),
    )
    alone, training = (_images_per_second(device, batches, step) for step in steps)
    notes.record(Fed(workload.name, batch_size, augment, alone, training))
    about = f"{workload.name} {batch_size}, augmentation {augment}"
    notes.found(f"{about}: batches alone {alone:.0f} images/s, training {training:.0f}")


def _images_per_second(device: Device, batches: Batches, step: BatchStep) -> float:
    made = chain.from_iterable(step.each(batches, epoch) for epoch in count())
    for _ in islice(made, WARM_UPS):
        step.run()
    device.synchronize()
    start, seen = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS[device.target]:
        seen += next(made)
        step.run()
    device.synchronize()
    return seen / (time.perf_counter() - start)
