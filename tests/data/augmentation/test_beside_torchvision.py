"""Instructions carried out by the plain reference beside torchvision's own transforms on Pillow's images.

Every change of the three policies, with every magnitude and sign, has to give torchvision's bytes, all of them. So has
a whole AutoAugment that gets our random numbers.

torch computes magnitudes with one rounding where the CPU has a fused multiply-add, and with two elsewhere, so that the
last bit depends on the machine. Ours are those of one rounding everywhere, and torchvision gets them here.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers.batches import augmented
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as vision
from torchvision.transforms.autoaugment import _apply_op

from ttfs_cupy.check.kernels.references.augmentation import carried_out, drawn_instructions, philox, unit
from ttfs_cupy.data import ImageSet
from ttfs_cupy.data.augmentation import (
    Augmentation,
    AutoAugment,
    Cutout,
    Operation,
    RandAugment,
    RandomCrop,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    TrivialAugmentWide,
)
from ttfs_cupy.data.augmentation.magnitudes import NARROW, WIDE, Space, between, choice
from ttfs_cupy.data.augmentation.policies import CHANGES, CIFAR10

SHAPES = [(32, 32, 3), (32, 32, 1), (28, 28, 1), (24, 40, 3), (33, 17, 1), (8, 8, 1), (2, 5, 3), (1, 1, 1)]
CIFAR10_POLICY = transforms.AutoAugmentPolicy.CIFAR10
POLICIES = {
    "AutoAugment": (transforms.AutoAugment(CIFAR10_POLICY), Space(10, NARROW)),
    "RandAugment": (transforms.RandAugment(), Space(31, NARROW)),
    "TrivialAugmentWide": (transforms.TrivialAugmentWide(), Space(31, WIDE)),
}
FILL = 77
WORD = int.from_bytes([FILL] * 4, "little", signed=True)

OF_TORCH = torch.linspace

Shape = tuple[int, int, int]


@pytest.fixture(autouse=True)
def rounded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def linspace(first: float, last: float, bins: int) -> torch.Tensor:
        return torch.tensor([between(first, last, bins, level) for level in range(bins)], dtype=torch.float32)

    monkeypatch.setattr(torch, "linspace", linspace)


def pictures(shape: Shape) -> list[np.ndarray]:
    """A smooth image, noise, one of few levels, and one of a single level."""
    height, width, channels = shape
    rng = np.random.default_rng(shape)
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [127 + 100 * np.sin(3 * x + channel) * np.cos(5 * y + channel) for channel in range(channels)]
    levels = rng.choice(np.array([0, 7, 255], np.uint8), shape)
    flat = np.full(shape, 130, np.uint8)
    return [np.stack(waves, axis=-1).astype(np.uint8), rng.integers(0, 256, shape, dtype=np.uint8), levels, flat]


def of_pillow(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def changes(name: str, shape: Shape) -> Iterator[tuple[str, int, float, bool]]:
    """torchvision's own table: each change, the number and the value of each magnitude, and whether it has a sign."""
    policy, (bins, _) = POLICIES[name]
    size = () if name == "TrivialAugmentWide" else (shape[:2],)
    for change, (magnitudes, is_signed) in policy._augmentation_space(bins, *size).items():
        values = magnitudes.tolist() if magnitudes.ndim else [0.0] * bins
        yield from ((change, level, float(value), is_signed) for level, value in enumerate(values))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", POLICIES)
def test_every_change_magnitude_and_sign_gives_torchvisions_bytes(name: str, shape: Shape) -> None:
    pixels, differing = 0, {}
    for change, level, magnitude, is_signed in changes(name, shape):
        row = choice(change, 1.0, level, POLICIES[name][1], shape, WORD)
        assert is_signed or row.positive == row.negative
        signs = ((1, row.positive), (-1, row.negative)) if is_signed else ((1, row.positive),)
        for image in pictures(shape):
            for sign, instruction in signs:
                made = _apply_op(of_pillow(image), change, sign * magnitude, InterpolationMode.NEAREST, FILL)
                ours = carried_out(np.array(instruction, np.int32), image)
                assert ours.shape == image.shape and ours.dtype == np.uint8
                pixels += ours.size
                if wrong := int((ours != np.asarray(made).reshape(shape)).sum()):
                    differing[change, level, sign] = wrong
    print(f"{name}, {shape}: {pixels - sum(differing.values())} of {pixels} bytes are equal")
    assert pixels > 0 and differing == {}


def test_a_fill_may_be_a_colour() -> None:
    image, colour = pictures((24, 40, 3))[1], (10, 200, 90)
    row = choice("Rotate", 1.0, 9, Space(10, NARROW), (24, 40, 3), int.from_bytes([*colour, 0], "little", signed=True))
    theirs = vision.rotate(of_pillow(image), 30.0, fill=colour)
    assert np.array_equal(carried_out(np.array(row.positive, np.int32), image), np.asarray(theirs))


def test_magnitudes_are_those_of_torch() -> None:
    """Bit for bit on x86 with fused multiply-add, for any number of bins; elsewhere but for the last bit."""
    is_fused = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    for first, last in ((0, 0.3), (0, 150 / 331 * 32), (0, 150 / 331 * 28), (0, 30), (0, 0.99), (0, 32), (255, 0)):
        for bins in (2, 3, 4, 7, 10, 16, 31, 32, 64, 255, 256):
            ours = np.array([between(first, last, bins, level) for level in range(bins)], np.float32)
            theirs = OF_TORCH(first, last, bins).numpy()
            # of the ends, from which the other numbers are counted
            assert np.abs(ours - theirs).max() <= (0 if is_fused else 2 * np.spacing(np.float32(max(first, last))))


def test_the_table_of_auto_augment_is_torchvisions() -> None:
    rows = [tuple(change.split() for change in line.split(",")) for line in CIFAR10.strip().split("\n")]
    ours = [tuple((name, float(p), None if level == "-" else int(level)) for name, p, level in row) for row in rows]
    assert ours == transforms.AutoAugment(CIFAR10_POLICY).policies


def test_the_changes_are_torchvisions() -> None:
    for name in ("RandAugment", "TrivialAugmentWide"):
        assert list(dict.fromkeys(change for change, *_ in changes(name, (32, 32, 3)))) == list(CHANGES)


def test_the_programs_rows_are_these_changes() -> None:
    shape = (24, 40, 3)

    def rows(operation: Any) -> list[list[int]]:
        return Augmentation((operation,)).program(shape).choices.tolist()

    every = [choice(name, 1.0, level, Space(7, WIDE), shape, 0) for name in CHANGES for level in range(7)]
    assert rows(TrivialAugmentWide(7)) == [[1 << 24, *one.positive, *one.negative] for one in every]
    some = [choice(name, 1.0, 3, Space(8, NARROW), shape, WORD) for name in CHANGES]
    assert rows(RandAugment(1, 3, 8, FILL)) == [[1 << 24, *one.positive, *one.negative] for one in some]


def carried_through(operations: tuple[Any, ...], images: list[np.ndarray]) -> np.ndarray:
    """What becomes of images by their numbers in the list, with the random numbers of epoch 2 and seed 9."""
    whole = ImageSet(np.array(images), np.zeros(len(images), np.int32))
    return augmented(whole, Augmentation(operations), epoch=2, seed=9)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1)], ids=str)
def test_auto_augment_is_torchvisions(shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same random numbers: which pair of changes, and for each whether it happens, and its sign."""
    images = [picture for number in range(150) for picture in pictures(shape)[number % 2 : number % 2 + 1]]
    ours = carried_through((AutoAugment(fill=128),), images)

    def draws(image: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        words = philox(np.array([[image, 2, 0, 0], [image, 2, 0, 64]], np.uint32), np.array([9, 0], np.uint32)).tolist()
        chances, signs = [unit(word[1]) for word in words], [int(word[2] < 1 << 31) for word in words]
        return words[0][0] * 25 >> 32, torch.tensor(chances), torch.tensor(signs)

    theirs = transforms.AutoAugment(CIFAR10_POLICY, fill=128)
    for number, (image, result) in enumerate(zip(images, ours, strict=True)):
        monkeypatch.setattr(theirs, "get_params", lambda _, number=number: draws(number))
        assert np.array_equal(result, np.asarray(theirs(of_pillow(image))).reshape(shape))
    assert np.mean([np.array_equal(*pair) for pair in zip(images, ours, strict=True)]) < 0.5


@pytest.mark.parametrize("shape", [(32, 32, 3), (9, 12, 1)], ids=str)
def test_crops_and_flips_are_torchvisions(shape: Shape) -> None:
    height, width, _ = shape
    image = pictures(shape)[1]
    pillow = of_pillow(image)

    def results(operation: Any) -> list[tuple[list[int], np.ndarray]]:
        program = Augmentation((operation,)).program(shape)
        instructions = drawn_instructions(program, shape, np.arange(60), np.zeros(60, int), 0, 1)[:, 0]
        return [(one.tolist(), carried_out(one, image)) for one in instructions]

    for (_, _, _, column, _, _, row, _), cropped in results(RandomCrop(padding=[2, 3], fill=128)):
        padded = vision.pad(pillow, [2, 3], fill=128)
        theirs = vision.crop(padded, (row >> 16) + 3, (column >> 16) + 2, height, width)
        assert np.array_equal(cropped, np.asarray(theirs).reshape(shape))
    for operation, flip in ((RandomHorizontalFlip(), vision.hflip), (RandomVerticalFlip(), vision.vflip)):
        found = results(operation)
        assert {instruction[0] for instruction, _ in found} == {Operation.KEEP, Operation.AFFINE}
        for instruction, flipped in found:
            theirs = flip(pillow) if instruction[0] else pillow
            assert np.array_equal(flipped, np.asarray(theirs).reshape(shape))


def test_any_number_of_channels_can_be_moved_and_filled() -> None:
    image = np.random.default_rng(0).integers(1, 256, (6, 6, 7), dtype=np.uint8)
    operations = (RandomCrop(padding=1, fill=9), RandomHorizontalFlip(1), Cutout(2, fill=200))
    (result,) = carried_through(operations, [image])
    holes = (result == 200).all(axis=2)
    assert 0 < holes.sum() <= 4
    possible = {(9,) * 7, (200,) * 7, *map(tuple, image.reshape(-1, 7).tolist())}
    assert set(map(tuple, result.reshape(-1, 7).tolist())) <= possible
