"""How much sooner many small image files are classified by `predict` than by opening and classifying one by one.

    python -m ttfs_cupy.benchmarks.prediction [RUN_DIR] [--images 10000] [--rounds 3] [--root DIR]

The images are the test images of Fashion-MNIST as PNG files, in a temporary folder. The network is the run's, or that
of the config small_fmnist with drawn weights. Sides take turns in one process, and tell the same classes. The module
that `convert` writes is a side with --pytorch.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.prediction.__main__")

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.measure import median, turns
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.data import Dataset, load_dataset
from ttfs_cupy.data.decoding.photograph import load_pillow
from ttfs_cupy.device import get_device
from ttfs_cupy.exchange.module_text import module_text
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import network_of
from ttfs_cupy.trained.trained_network import BATCH_SIZE, TrainedNetwork, load, trained

CONFIG, DATASET = "small_fmnist", "fmnist"
TOGETHER, ONE_BY_ONE, PYTORCH = "predict", "one by one", "PyTorch, one by one"

# from files to classes, int64 (N,)
Classify = Callable[[Sequence[Path]], NDArray[np.int64]]


@dataclass
class _Side:
    """Seconds of each round, by the clock and of all cores together; and what it said last."""

    classify: Classify
    seconds: list[float] = field(default_factory=list)
    of_cores: list[float] = field(default_factory=list)
    classes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def turn(self, files: Sequence[Path]) -> None:
        start, used = time.perf_counter(), time.process_time()
        self.classes = self.classify(files)
        self.seconds.append(time.perf_counter() - start)
        self.of_cores.append(time.process_time() - used)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    name = "python -m ttfs_cupy.benchmarks.prediction"
    parser = command_line.Parser(prog=name, description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("run", metavar="RUN_DIR", nargs="?", type=command_line.path, help="a run on grey images of 28 x 28 pixels")
    add("--images", type=options.count, default=10_000, metavar="N", help="how many (default: 10000)")
    add("--batch-size", type=options.count, default=BATCH_SIZE, metavar="N", help=f"default: {BATCH_SIZE}")
    add("--root", type=command_line.path, default=Path("datasets"), metavar="DIR", help="where the images are")
    add("--pytorch", action="store_true", help="also PyTorch, one by one, in as many threads")
    options.add_device_and_rounds(parser, rounds=3)
    parsed = parser.parse_args(arguments)

    def work() -> None:
        dataset = load_dataset(DATASET, parsed.root)
        net = load(parsed.run, parsed.device) if parsed.run is not None else _drawn(dataset, parsed.device)
        if net.input_shape != dataset.input_shape:
            raise UserError(f"the network of '{parsed.run}' takes images of {net.input_shape}: it must be (1, 28, 28)")
        with tempfile.TemporaryDirectory() as folder:
            files = _written(dataset.test.images[: parsed.images], Path(folder))
            for line in lines(net, files, parsed.rounds, parsed.batch_size, beside_pytorch=parsed.pytorch):
                command_line.say(line)

    return command_line.run(work, process_ends=arguments is None)


def lines(
    net: TrainedNetwork, files: Sequence[Path], rounds: int, batch_size: int, *, beside_pytorch: bool = False
) -> Iterator[str]:
    """A table: medians of the rounds, and how many times as long as `predict` each takes."""
    sides = {TOGETHER: _Side(lambda paths: net.predict(paths, batch_size).classes), ONE_BY_ONE: _Side(_one_by_one(net))}
    if beside_pytorch:
        sides[PYTORCH] = _Side(_by_pytorch(net))
    for side in sides.values():
        side.classify(files[: 2 * batch_size])
    names = list(sides)
    for number in turns(len(sides), rounds):
        sides[names[number]].turn(files)
    together = sides[TOGETHER]
    yield f"{len(files)} images, {net.network.device.description}, medians of {rounds} rounds"
    yield f"{'':22}{'seconds':>9}{'us/image':>10}{'ratio':>8}{'core seconds':>14}{'ratio':>8}{'other classes':>15}"
    for name, side in sides.items():
        seconds, of_cores = median(side.seconds), median(side.of_cores)
        ratios = [
            median([a / b for a, b in zip(mine, ours, strict=True)])
            for mine, ours in ((side.seconds, together.seconds), (side.of_cores, together.of_cores))
        ]
        others = int((side.classes != together.classes).sum())
        yield (
            f"{name:22}{seconds:9.2f}{1e6 * seconds / len(files):10.0f}{ratios[0]:8.2f}{of_cores:14.2f}{ratios[1]:8.2f}"
            f"{others:15d}"
        )


def _drawn(dataset: Dataset, device: str) -> TrainedNetwork:
    config = load_config(CONFIG, [], {"device": device})
    network = network_of(config, get_device(config.device, config.threads)[0], dataset.description)
    return trained(network, dataset.description, dataset.class_names)


def _written(images: NDArray[np.uint8], folder: Path) -> list[Path]:
    from PIL import Image

    files = [folder / f"{number:05}.png" for number in range(len(images))]
    for file, pixels in zip(files, images, strict=True):
        Image.fromarray(pixels[..., 0]).save(file)
    return files


def _pixels(file: Path) -> NDArray[np.float32]:
    """(1, 1, height, width), as whoever writes a loop of his own would read it."""
    from PIL import Image

    with Image.open(file) as image:
        pixels: NDArray[np.float32] = np.asarray(image, np.float32) / np.float32(255)
    return pixels[np.newaxis, np.newaxis]


def _one_by_one(net: TrainedNetwork) -> Classify:
    load_pillow()
    network = net.network

    def classify(files: Sequence[Path]) -> NDArray[np.int64]:
        readouts = (network.forward(network.encode(_pixels(file))) for file in files)
        return np.array([network.device.to_host(readout).argmax() for readout in readouts], np.int64)

    return classify


def _by_pytorch(net: TrainedNetwork) -> Classify:
    """The same network as the module that `convert` writes, on the CPU."""
    torch: Any = imported("torch", "PyTorch", "pip install torch")
    torch.set_num_threads(net.network.device.workers)
    names: dict[str, Any] = {}
    exec(compile(module_text(net.network, "a run", "weights.pt"), "<module>", "exec"), names)
    module = names["Net"]()
    module.load_state_dict({name: torch.from_numpy(array) for name, array in net.network.state_dict().items()})

    def classify(files: Sequence[Path]) -> NDArray[np.int64]:
        with torch.no_grad():
            return np.array([int(module(torch.from_numpy(_pixels(file))).argmax()) for file in files], np.int64)

    return classify
