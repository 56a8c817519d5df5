"""The C files beside the engine: compiled, run on test images, and compared."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.data import Batches
from ttfs_cupy.engine.network import Network
from ttfs_cupy.exchange.rounding import TOLERANCE, Outcomes, largest_difference
from ttfs_cupy.export.c.compiler import Compiler, run
from ttfs_cupy.export.c.layers import layer_by_layer
from ttfs_cupy.export.c.quantization import IntegerStages
from ttfs_cupy.export.c.reference import potentials as integer_potentials
from ttfs_cupy.export.c.text import FLOAT32, INT8, MAIN

# Images that are compared layer by layer
LAYERS_IMAGES = 32
# Images that pass through at once
BATCH = 32


@dataclass(frozen=True)
class Float32:
    """Beside the engine. classes: of how many images the class is not that of the largest potential. largest: the
    difference of any potential, relative to the largest of all, or to 1 if none is above. jumps: whether rounding may
    make a neuron spike, so that `largest` says little. predictions: how many differ. layers: layer by layer, at the
    same input."""

    classes: int
    largest: float
    jumps: bool
    predictions: int
    layers: Outcomes

    @property
    def is_good(self) -> bool:
        if self.classes or self.layers.unexplained:
            return False
        return self.jumps or self.largest <= TOLERANCE


@dataclass(frozen=True)
class Int8:
    """accuracy: of the file, and own: of the engine. predictions: how many differ between them. wrong: of how many
    images potentials are not those of the same arithmetic in NumPy, to the bit."""

    accuracy: float
    own: float
    predictions: int
    wrong: int

    @property
    def is_good(self) -> bool:
        return self.wrong == 0


@dataclass(frozen=True)
class Comparison:
    """Of both files. compiler: what built them, in words."""

    images: int
    compiler: str
    float32: Float32
    int8: Int8

    @property
    def is_good(self) -> bool:
        return self.float32.is_good and self.int8.is_good


def comparison(
    network: Network, integers: IntegerStages, test: Batches, count: int, folder: Path, scratch: Path, by: Compiler
) -> Comparison:
    """Runs the files in `folder` on the first `count` test images. scratch: where programs may be built.

    Raises BuildError and ProgramError.
    """
    pixels, labels = test.images.images[:count], test.images.labels[:count]
    stages = integers.stages
    program = by.build([folder / name for name in (MAIN, FLOAT32, INT8)], scratch / "predict")
    own = _readouts(network, test, count)
    classes, readouts = _printed(run(program, "float32", given=pixels.tobytes()), len(pixels))
    float32 = Float32(
        classes=int(np.count_nonzero(classes != readouts.argmax(axis=1))),
        largest=largest_difference(own, readouts),
        jumps=stages.is_sloped,
        predictions=int(np.count_nonzero(classes != own.argmax(axis=1))),
        layers=layer_by_layer(network, stages, test, min(LAYERS_IMAGES, len(pixels)), folder, scratch, by),
    )
    classes, readouts = _printed(run(program, "int8", given=pixels.tobytes()), len(pixels))
    exact = np.concatenate(
        [integer_potentials(integers, pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    )
    int8 = Int8(
        float((classes == labels).mean()),
        float((own.argmax(axis=1) == labels).mean()),
        int(np.count_nonzero(classes != own.argmax(axis=1))),
        int(np.count_nonzero((readouts != exact).any(axis=1) | (classes != exact.argmax(axis=1)))),
    )
    return Comparison(len(pixels), str(by), float32, int8)


def _readouts(network: Network, test: Batches, count: int) -> NDArray[np.float64]:
    """The engine's own, (count, classes)."""
    found = list[np.ndarray]()
    batches = range(-(-min(count, len(test.images)) // test.batch_size))
    with network.turns.take():
        for batch in test.epoch(0, network.device, batches):
            found.append(network.device.to_host(network.run(batch.inputs)).copy())
        network.validity.raise_if_marked()
    return np.concatenate(found)[:count].astype(np.float64)


def _printed(lines: bytes, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Classes and potentials of what main.c prints."""
    numbers = np.array([line.split() for line in lines.splitlines()], np.float64).reshape(count, -1)
    return numbers[:, 0].astype(np.int64), numbers[:, 1:]
