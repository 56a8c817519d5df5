"""Times making batches of augmented images beside torchvision's transforms in PyTorch's DataLoader, on this CPU.

    python -m ttfs_cupy.benchmarks.augmentation [--seconds 15] [--batch-size 256] [--images 50000]

Both make batches of the augmentation `cifar` of the same random 32x32 images in colour, in turns; a training step takes
turns with them. What the process's memory grows by while ours are made is measured before all else.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.augmentation")

import os
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import psutil

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.comparison.memory import peak_resident_bytes
from ttfs_cupy.benchmarks.machine import processor
from ttfs_cupy.benchmarks.measure import median, turns
from ttfs_cupy.benchmarks.ours import Ours
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.data.augmentation.reading import GREY
from ttfs_cupy.data.production import Production
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.neuron.encoding import Encoder

SHAPE, CLASSES = (32, 32, 3), 10
AUGMENTATION = "cifar"
WORKERS, ROUNDS = 2, 5
# batches that warm a side up, and with which its speed is then guessed: a multiple of the workers
FIRST = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    name = "python -m ttfs_cupy.benchmarks.augmentation"
    parser = command_line.Parser(prog=name, description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--seconds", type=options.rate, default=15.0, help="for which each of the two makes batches (default: 15)")
    add("--batch-size", type=options.count, default=256, metavar="N", help="of both (default: 256)")
    add("--images", type=options.count, default=50_000, metavar="N", help="of the data set (default: 50000)")
    add("--network", choices=WORKLOADS, default="vgg11", help="whose training step is timed (default: vgg11)")
    add("--step-batch-size", type=options.count, default=16, metavar="N", help="of that step (default: 16)")
    parsed = parser.parse_args(arguments)

    def work() -> None:
        if find_spec("torchvision") is None:
            raise UserError("torchvision, which the engine is compared with, is missing: pip install torchvision")
        task = Task(WORKLOADS[parsed.network], parsed.step_batch_size)
        for line in lines(parsed.images, parsed.batch_size, parsed.seconds, task):
            command_line.say(line)

    return command_line.run(work, process_ends=arguments is None)


class OurBatches:
    """The engine's: made one after the other, epoch after epoch, without the copies that `Batches.epoch` gives away."""

    def __init__(self, images: ImageSet, batch_size: int, device: Device):
        self._batches = Batches(images, batch_size, encode=Encoder(), shuffle=True, augment=AUGMENTATION)
        self._production = Production(self._batches, device)
        self._epoch, self._number = -1, len(self._batches)

    def make(self, batches: int) -> None:
        """Makes so many, each float32 (batch_size, H, W, 3) with its labels; the last of an epoch is left out."""
        production = self._production
        for _ in range(batches):
            if self._number >= len(self._batches) - 1:
                self._epoch, self._number = self._epoch + 1, 0
                production.begin(self._epoch)
            production.send(self._number)
            production.take()
            production.make(self._batches.size(self._number))
            self._number += 1


class Turn(NamedTuple):
    """What a side does when it is its turn, and of how many images."""

    work: Callable[[], object]
    images: int


def lines(count: int, batch_size: int, seconds: float, task: Task) -> Iterator[str]:
    """The report, as it is measured. count: images of the data set."""
    device, _ = get_device("cpu")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *SHAPE), np.uint8)
    labels = rng.integers(0, CLASSES, count, np.int32)
    yield f"{processor()}, {device.workers} threads, {WORKERS} workers; load average {_load()}"
    ours, grown = _weighed(ImageSet(images, labels), batch_size, device)
    # after the memory was measured, which PyTorch would take some of
    from ttfs_cupy.benchmarks.peers.torchvision_loader import TorchvisionLoader

    theirs = TorchvisionLoader(images, labels, batch_size, WORKERS, GREY)
    step = Ours(task, device).step
    step()
    sides = [
        *(_turn(make, batch_size, seconds / ROUNDS) for make in (ours.make, theirs.make)),
        Turn(step, task.batch_size),
    ]
    taken = _taken(sides, ROUNDS)
    yield from _table(taken, batch_size, task)
    yield f"memory beyond the data set while ours are made: {grown / 2**20:.0f} MiB at most"
    yield f"load average {_load()}"


def _table(taken: Sequence[Sequence[float]], batch_size: int, task: Task) -> Iterator[str]:
    """taken: seconds for an image, round by round, of our batches, torchvision's, and a training step."""
    yield f"{f'{AUGMENTATION}, batch {batch_size}':28}{'images/s':>12}{'slowest':>12}{'fastest':>12}"
    for name, seconds in zip(("ttfs_cupy", "torchvision in DataLoader"), taken, strict=False):
        figures = (median(seconds), max(seconds), min(seconds))
        yield f"{name:28}" + "".join(f"{1 / figure:12,.0f}" for figure in figures)
    ours, theirs, step = map(median, taken)
    ratios = [their / our for our, their in zip(*taken[:2], strict=True)]
    yield f"ratio {theirs / ours:.1f}, from round to round {min(ratios):.1f} to {max(ratios):.1f}"
    yield (
        f"a training step of {task.workload.name} at batch {task.batch_size} takes {step * 1e3:.2f} ms an image, "
        f"of which making it would be {ours / step:.3%}"
    )


def _weighed(images: ImageSet, batch_size: int, device: Device) -> tuple[OurBatches, int]:
    """Our batches, after an epoch, and by how many bytes memory had grown at most while it was made.

    That is the process's peak against what it had before. Had it had more at an earlier time, that counts, too.
    """
    before = psutil.Process().memory_info().rss
    batches = OurBatches(images, batch_size, device)
    batches.make(len(images) // batch_size)
    return batches, peak_resident_bytes() - before


def _turn(make: Callable[[int], None], batch_size: int, seconds: float) -> Turn:
    """As many batches as take about so long; a multiple of the workers, so that none waits for another."""
    make(FIRST)
    start = time.perf_counter()
    make(FIRST)
    batches = int(seconds * FIRST / (time.perf_counter() - start))
    batches = max(WORKERS, batches // WORKERS * WORKERS)
    return Turn(lambda: make(batches), batches * batch_size)


def _taken(sides: Sequence[Turn], rounds: int) -> list[list[float]]:
    """Seconds for an image, round by round, of each."""
    taken: list[list[float]] = [[] for _ in sides]
    for index in turns(len(sides), rounds):
        start = time.perf_counter()
        sides[index].work()
        taken[index].append((time.perf_counter() - start) / sides[index].images)
    return taken


def _load() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg())
