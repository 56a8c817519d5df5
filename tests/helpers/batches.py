"""Images, the batches that are made of them, and what the kernels drew for them."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from ttfs_cupy.check.kernels.references.augmentation import carried_out, drawn_instructions
from ttfs_cupy.data import Augmentation, Batches, ImageSet, MixedLabels
from ttfs_cupy.data.augmentation import Program
from ttfs_cupy.data.production import Production
from ttfs_cupy.device import CpuDevice, Device
from ttfs_cupy.neuron.encoding import Encoder

Shape = tuple[int, int, int]
PIXELS = Encoder()


@cache
def cpu() -> CpuDevice:
    """One for all that needs no other."""
    return CpuDevice(1)


def numbered(count: int, maximum: int = 255) -> ImageSet:
    """Image i has every pixel i, and the label i."""
    return labelled(np.arange(count), maximum)


def labelled(labels: np.ndarray, maximum: int = 255) -> ImageSet:
    """Image i has every pixel i, and the i-th of the labels."""
    pixels = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 4, 4, 1))
    return ImageSet(pixels.copy(), labels.astype(np.int32), maximum)


def pictures(count: int, shape: Shape, maximum: int = 255) -> ImageSet:
    """Random images: noise of all levels, every third of a few levels, so that tables have gaps; each its own label."""
    draw = np.random.default_rng((count, *shape))
    pixels = draw.integers(0, maximum + 1, (count, *shape), dtype=np.uint8)
    pixels[::3] = draw.choice(np.array([0, maximum // 3, maximum], np.uint8), pixels[::3].shape)
    return ImageSet(pixels, np.arange(count, dtype=np.int32), maximum)


class Epoch(NamedTuple):
    """inputs (N, H, W, C), labels and, where images are mixed, others and shares: on the host, batch after batch."""

    inputs: np.ndarray
    labels: np.ndarray
    others: np.ndarray
    shares: np.ndarray

    def by_label(self) -> "Epoch":
        """The same in the order of their labels."""
        place = np.argsort(self.labels, kind="stable")
        return Epoch(*(array[place] for array in self))

    def bits(self) -> tuple[bytes, ...]:
        return tuple(array.tobytes() for array in self)


def made(batches: Batches, epoch: int = 0, device: Device | None = None) -> Epoch:
    """A whole epoch; of plain labels, others are the labels and shares 1."""
    device = device or cpu()
    found: list[tuple[np.ndarray, ...]] = []
    for inputs, labels in batches.epoch(epoch, device):
        arrays = labels.arrays if isinstance(labels, MixedLabels) else (labels, labels)
        own, others, *shares = map(device.to_host, arrays)
        found.append((device.to_host(inputs), own, others, *(shares or [np.ones(len(own), np.float32)])))
    return Epoch(*map(np.concatenate, zip(*found, strict=True)))


def augmented(images: ImageSet, augment: Augmentation, epoch: int = 0, seed: int = 0) -> np.ndarray:
    """What the kernels' plain reference makes of all images, uint8 (N, H, W, C)."""
    count, *shape = images.images.shape
    program = augment.program((shape[0], shape[1], shape[2]))
    drawn = drawn_instructions(program, tuple(shape), np.arange(count), np.zeros(count, int), epoch, seed)
    results = []
    for image, instructions in zip(images.images, drawn, strict=True):
        for instruction in instructions:
            image = carried_out(instruction, image)
        results.append(image)
    return np.array(results)


class Draws(NamedTuple):
    """What was drawn for each image of an epoch, in its order.

    instructions: int32 (N, S, 8). Of a mix also partners, their places in the order, int32 (N,); shares and weights,
    float32 (N,); and boxes, int32 (N, 4).
    """

    instructions: np.ndarray
    partners: np.ndarray
    shares: np.ndarray
    weights: np.ndarray
    boxes: np.ndarray


def draws(batches: Batches, epoch: int = 0) -> Draws:
    """By the kernels, as they are launched for every batch."""
    production = Production(batches, cpu())
    production.begin(epoch)
    found: list[list[np.ndarray]] = []
    for number in range(len(batches)):
        count = batches.size(number)
        production.send(number)
        production.take()
        production.make(count)
        drawn = [production._instructions]
        if batches.mix is not None:
            drawn += [production._shares, production._weights, production._boxes]
        found.append([np.zeros((count, 0, 8), np.int32) if one is None else one[:count].copy() for one in drawn])
    instructions, *mixture = map(np.concatenate, zip(*found, strict=True))
    if batches.mix is None:
        return Draws(instructions, *(np.zeros((0, *rest)) for rest in [(), (), (), (4,)]))
    assert production._partners is not None
    return Draws(instructions, production._partners.copy(), *mixture)


def instructed(
    program: Program,
    shape: Shape,
    images: np.ndarray,
    epoch: int = 0,
    seed: int = 0,
    occurrence: int = 0,
) -> np.ndarray:
    """The instructions, int32 (N, S, 8), that the kernel draws for images of these numbers, and of any size."""
    count, slots = len(images), len(program.slots)
    occurrences, progress = np.full(count, occurrence, np.int32), np.array([0, epoch], np.int32)
    found = np.empty((count, slots, 8), np.int32)
    choices = program.choices if len(program.choices) else None
    drawn = (images.astype(np.int32), occurrences, progress, int(np.uint64(seed).astype(np.int64)))
    sizes = (slots, *shape[:2], found, count * slots)
    cpu().launch("draw_instructions", count * slots, *drawn, program.slots, choices, *sizes)
    return found


# Lists of operations, as YAML has them

_SIDES, _PROBABILITIES = st.integers(1, 9), st.floats(0, 1)
_RANGES = st.lists(_PROBABILITIES, min_size=2, max_size=2).map(sorted)


def lists_of_operations(channels: int, most: int = 4) -> st.SearchStrategy[list[Any]]:
    """Of up to so many, for images of so many channels."""
    levels = st.integers(0, 255)
    fills = levels | st.lists(levels, min_size=channels, max_size=channels) if channels <= 4 else levels
    parameters: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "RandomCrop": {"padding": _SIDES | st.lists(_SIDES, min_size=2, max_size=2), "fill": fills},
        "RandomTranslation": {"translate": _PROBABILITIES, "fill": fills},
        "RandomHorizontalFlip": {"p": _PROBABILITIES},
        "RandomVerticalFlip": {"p": _PROBABILITIES},
        "Cutout": {"size": st.none() | _SIDES | st.lists(_SIDES, min_size=2, max_size=2), "fill": fills},
        "RandomErasing": {
            "p": _PROBABILITIES,
            "scale": _RANGES,
            "ratio": _RANGES.map(lambda two: [1e-3 + side for side in two]),
            "value": fills,
        },
    }
    if channels in (1, 3):
        parameters |= {
            "AutoAugment": {"fill": fills},
            "RandAugment": {"num_ops": st.integers(1, 3), "magnitude": _SIDES, "fill": fills},
            "TrivialAugmentWide": {"num_magnitude_bins": st.integers(2, 10), "fill": fills},
        }
    one = [st.fixed_dictionaries({name: st.fixed_dictionaries(given)}) for name, given in parameters.items()]
    return st.lists(st.one_of(*one), min_size=1, max_size=most)
