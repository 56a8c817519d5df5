"""Policies: operations that draw which change an image gets, and how much of it; as torchvision carries them out.

AutoAugment (Cubuk et al. 2019), RandAugment (Cubuk et al. 2020) and TrivialAugment (Müller and Hutter 2021).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

from .magnitudes import NARROW, WIDE, Space, choice
from .operations import ImageOperation
from .parameters import Fill, checked_fill
from .program import MOST_SLOTS, Choice, ProgramBuilder

# AutoAugment's bins, and its policy for CIFAR-10: two changes, each with its probability and the number of its bin
BINS = 10
CIFAR10 = """
Invert .1 -, Contrast .2 6
Rotate .7 2, TranslateX .3 9
Sharpness .8 1, Sharpness .9 3
ShearY .5 8, TranslateY .7 9
AutoContrast .5 -, Equalize .9 -
ShearY .2 7, Posterize .3 7
Color .4 3, Brightness .6 7
Sharpness .3 9, Brightness .7 9
Equalize .6 -, Equalize .5 -
Contrast .6 7, Sharpness .6 5
Color .7 7, TranslateX .5 8
Equalize .3 -, AutoContrast .4 -
TranslateY .4 3, Sharpness .2 6
Brightness .9 6, Color .2 8
Solarize .5 2, Invert 0 -
Equalize .2 -, AutoContrast .6 -
Equalize .2 -, Equalize .6 -
Color .9 9, Equalize .6 -
AutoContrast .8 -, Solarize .2 8
Brightness .1 3, Color .7 0
Solarize .4 5, AutoContrast .9 -
TranslateY .9 9, TranslateY .7 9
AutoContrast .9 -, Solarize .8 3
Equalize .8 -, Invert .1 -
TranslateY .7 9, AutoContrast .9 -
"""

# what RandAugment and TrivialAugment choose from: all but Invert, and nothing at all
CHANGES = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast"),
    *("Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
)
# more steps than a magnitude has that differ
MOST_BINS = 256


@dataclass(frozen=True)
class Policy(ImageOperation):
    """What all policies have in common."""

    of_colours: ClassVar[bool] = True

    def _choices(self, builder: ProgramBuilder, changes: list[tuple[str, float, int]], space: Space) -> list[Choice]:
        """A row for each change: its name, probability and bin. Raises UserError for channels other than 1 and 3."""
        channels = builder.shape[2]
        if channels not in (1, 3):
            raise UserError(f"{self.name} is made for images of 1 or 3 channels, not {channels}: leave it out")
        word = self._word("fill", builder)
        return [choice(*change, space, builder.shape, word) for change in changes]


@dataclass(frozen=True)
class AutoAugment(Policy):
    """One of 25 learned pairs of changes, each with a probability of its own.

    policy: cifar10. fill: the level of what a change uncovers.
    """

    policy: str = "cifar10"
    fill: Fill = 0

    def __post_init__(self) -> None:
        if self.policy != "cifar10":
            raise UserError(f"AutoAugment: policy must be cifar10, the one that is made here, not {shown(self.policy)}")
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        space = Space(BINS, NARROW)
        chooser: int | None = None
        for changes in zip(*map(_pair, CIFAR10.strip().split("\n")), strict=True):
            rows = self._choices(builder, list(changes), space)
            chooser = builder.add_choice(builder.add_rows(rows), chooser)


def _pair(line: str) -> list[tuple[str, float, int]]:
    changes = [change.split() for change in line.split(",")]
    return [(name, float(chance), 0 if level == "-" else int(level)) for name, chance, level in changes]


@dataclass(frozen=True)
class RandAugment(Policy):
    """num_ops changes one after the other, each one of 14, all of the same magnitude.

    magnitude: from 0, below num_magnitude_bins, which is the number of steps.
    fill: the level of what a change uncovers.
    """

    num_ops: int = 2
    magnitude: int = 9
    num_magnitude_bins: int = 31
    fill: Fill = 0

    def __post_init__(self) -> None:
        self._check("num_ops", check_count, most=MOST_SLOTS)
        self._check("num_magnitude_bins", check_count, least=2, most=MOST_BINS)
        self._check("magnitude", check_count, least=0, most=self.num_magnitude_bins - 1)
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        changes = [(name, 1.0, self.magnitude) for name in CHANGES]
        rows = builder.add_rows(self._choices(builder, changes, Space(self.num_magnitude_bins, NARROW)))
        for _ in range(self.num_ops):
            builder.add_choice(rows)


@dataclass(frozen=True)
class TrivialAugmentWide(Policy):
    """One change of 14, of any magnitude.

    num_magnitude_bins: the number of steps. fill: the level of what a change uncovers.
    """

    num_magnitude_bins: int = 31
    fill: Fill = 0

    def __post_init__(self) -> None:
        self._check("num_magnitude_bins", check_count, least=2, most=MOST_BINS)
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        bins = self.num_magnitude_bins
        # a change without a magnitude stands there as often as one with all of them
        changes = [(name, 1.0, level) for name in CHANGES for level in range(bins)]
        builder.add_choice(builder.add_rows(self._choices(builder, changes, Space(bins, WIDE))))
