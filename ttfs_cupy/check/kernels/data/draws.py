"""Checks of draws.cu: instructions, partners and mixtures, by the numbers of Philox."""

import numpy as np

from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.check.kernels.references.augmentation import drawn_instructions
from ttfs_cupy.check.kernels.references.mixing import drawn_mixtures, drawn_partners
from ttfs_cupy.check.kernels.registry import check
from ttfs_cupy.data.augmentation import Augmentation, augmentation

EPOCH = 7
SEEDS = (0, 2**63 + 12_345_678_901)
# every way to draw; also what never happens, what always does, and rectangles that do not fit
AUGMENTATIONS: tuple[Augmentation, ...] = (
    augmentation("cifar"),
    augmentation([{"RandomCrop": {"padding": [1, 3], "fill": [1, 2, 3]}}, "RandomVerticalFlip", "RandomErasing"]),
    augmentation([{"RandomHorizontalFlip": 0}, {"RandomVerticalFlip": 1}, {"Cutout": [40, 1]}]),
    augmentation([{"RandomErasing": {"p": 1, "scale": [0.5, 1], "ratio": [0.2, 5]}}]),
    augmentation([{"RandAugment": {"num_ops": 3}}, "TrivialAugmentWide"]),
)


def signed(seed: int) -> int:
    """As a kernel's long long holds it."""
    return int(np.uint64(seed).astype(np.int64))


def someone(trial: KernelTrial, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and occurrences, int32 (count,)."""
    images = trial.random.integers(0, 2**31 - 1, count).astype(np.int32)
    return images, trial.random.integers(0, 3, count).astype(np.int32)


# exp and sqrt of another library may round a rectangle otherwise, once in a great while: not with these numbers
@check(tolerance=0.0)
def draw_instructions(trial: KernelTrial) -> None:
    for number, chosen in enumerate(AUGMENTATIONS):
        height, width = ((32, 32), (9, 14))[number % 2]
        program, seed = chosen.program((height, width, 3)), SEEDS[number % 2]
        slots, rows = len(program.slots), 60
        images, occurrences = someone(trial, rows)
        wanted = drawn_instructions(program, (height, width, 3), images, occurrences, EPOCH, seed)
        choices = program.choices if len(program.choices) else None
        arguments = (images, occurrences, np.array([3, EPOCH], np.int32), signed(seed), program.slots, choices)
        blank = trial.blank(*wanted.shape, dtype=np.int32)
        (drawn,) = trial.launch(rows * slots, *arguments, slots, height, width, blank, rows * slots)
        trial.compare(drawn, wanted)


@check(tolerance=0.0)
def draw_partners(trial: KernelTrial) -> None:
    for count, seed in ((1, SEEDS[1]), (5000, SEEDS[0])):
        order, occurrences = someone(trial, count)
        arguments = (order, occurrences, np.array([0, EPOCH], np.int32), signed(seed))
        (partners,) = trial.launch(count, *arguments, trial.blank(count, dtype=np.int32), count)
        trial.compare(partners, drawn_partners(order, occurrences, EPOCH, seed))


# of shares: a logarithm and an exponential in float64, then one of float32's steps
@check(tolerance=2e-7)
def draw_mixtures(trial: KernelTrial) -> None:
    height, width = 9, 14
    for alpha, cut in ((1.0, 0), (0.2, 1), (0.01, 2), (100.0, 2), (2.5, 1)):
        images, occurrences = someone(trial, 300)
        arguments = (images, occurrences, np.array([0, EPOCH], np.int32), signed(SEEDS[1]), alpha, cut, height, width)
        blanks = (trial.blank(300), trial.blank(300), trial.blank(300, 4, dtype=np.int32))
        found = trial.launch(300, *arguments, *blanks, 300)
        wanted = drawn_mixtures(images, occurrences, EPOCH, SEEDS[1], alpha, cut, (height, width))
        for one, other in zip(found, map(np.asarray, wanted), strict=True):
            trial.compare(one, other, 1.0)
