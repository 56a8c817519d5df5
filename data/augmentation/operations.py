"""The operations of an augmentation, by torchvision's names and with its parameters.

Each is a change that is drawn anew for every image. They are plain values: what is drawn, they say as slots of a
program, and the kernels draw. Each raises UserError, as it is made, for a parameter that it cannot have.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ttfs_cupy.common.checks import check_number
from ttfs_cupy.common.errors import UserError

from .parameters import (
    Count,
    Fill,
    Number,
    both,
    checked_counts,
    checked_fill,
    checked_range,
    checked_shares,
    fill_word,
    is_black,
)
from .program import Draw, ProgramBuilder, float_bits, threshold

# height over width, and back
RATIOS = (1e-3, 1e3)


@dataclass(frozen=True)
class ImageOperation(ABC):
    """What all operations have in common."""

    # whether it computes with levels of grey or colours, which Pillow has for 1 and 3 channels
    of_colours: ClassVar[bool] = False
    # the parameter that is a level, if there is one
    level: ClassVar[str] = "fill"

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def needs_bytes(self) -> bool:
        """Whether it is made for pixels of 0..255, since it brings levels of its own."""
        return self.of_colours or not is_black(getattr(self, self.level, 0))

    def given(self) -> dict[str, Any]:
        """The parameters that differ from their defaults, as YAML has them."""
        chosen = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}

    @abstractmethod
    def add_to(self, builder: ProgramBuilder) -> None:
        """Appends the operation's slots. Raises UserError for images that it is not made for."""

    def _check(self, name: str, check: Callable[..., object], *arguments: object, **limits: object) -> None:
        """Puts what check(called, value, ...) makes of a parameter in its place. Raises UserError as it does."""
        object.__setattr__(self, name, check(f"{self.name}: {name}", getattr(self, name), *arguments, **limits))

    def _word(self, name: str, builder: ProgramBuilder) -> int:
        return fill_word(f"{self.name}: {name}", getattr(self, name), builder.shape[2])


@dataclass(frozen=True)
class RandomCrop(ImageOperation):
    """A piece of the image's own size, cut out of the image within a border.

    size: the image's own, or null: networks have one size of input.
    padding: pixels of the border: [left and right, top and bottom], or one number. fill: its level.
    """

    size: Count | None = None
    padding: Count | None = None
    fill: Fill = 0

    def __post_init__(self) -> None:
        if self.size is not None:
            self._check("size", checked_counts, "[height, width]", least=1)
        if self.padding is None:
            raise UserError("RandomCrop: padding is missing: it must be a whole number of pixels, such as 4")
        self._check("padding", checked_counts, "[left and right, top and bottom]")
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        height, width, _ = builder.shape
        if self.size is not None and both(self.size) != (height, width):
            wanted = "x".join(str(side) for side in both(self.size))
            raise UserError(
                f"RandomCrop: size is {wanted}, but the images are {height}x{width}, which a crop keeps: leave size out"
            )
        assert self.padding is not None
        left, top = map(int, both(self.padding))
        builder.add(Draw.SHIFT, top, left, self._word("fill", builder))


@dataclass(frozen=True)
class RandomTranslation(ImageOperation):
    """The image moved by whole pixels, each distance as often as any other.

    translate: how far at most, as a share of the image's size: [across, down], or one number, as RandomAffine of
    torchvision has it. In pixels it is rounded, halves down: 0.125 is 4 at 32x32, 3 at 28x28 and 1 at 8x8.
    fill: the level of what is uncovered.
    """

    translate: Number = 0.125
    fill: Fill = 0

    def __post_init__(self) -> None:
        self._check("translate", checked_shares, "[across, down]")
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        height, width, _ = builder.shape
        across, down = both(self.translate)
        top, left = _rounded(down * height), _rounded(across * width)
        builder.add(Draw.SHIFT, top, left, self._word("fill", builder))


def _rounded(distance: float) -> int:
    return math.ceil(distance - 0.5)


@dataclass(frozen=True)
class _RandomFlip(ImageOperation):
    """With probability p the image mirrored. axis: as the kernel that draws has it."""

    axis: ClassVar[int]
    p: float = 0.5

    def __post_init__(self) -> None:
        self._check("p", check_number, 0, 1)

    def add_to(self, builder: ProgramBuilder) -> None:
        builder.add(Draw.MIRROR, threshold(self.p), self.axis)


@dataclass(frozen=True)
class RandomHorizontalFlip(_RandomFlip):
    """With probability p the image mirrored, left to right."""

    axis: ClassVar[int] = 0


@dataclass(frozen=True)
class RandomVerticalFlip(_RandomFlip):
    """With probability p the image mirrored, top to bottom."""

    axis: ClassVar[int] = 1


@dataclass(frozen=True)
class Cutout(ImageOperation):
    """A hole in every image (DeVries and Taylor 2017), its centre anywhere, so the border may cut a part of it off.

    size: pixels, [height, width] or one number; null is half of the image's size. fill: the hole's level.
    """

    size: Count | None = None
    fill: Fill = 0

    def __post_init__(self) -> None:
        if self.size is not None:
            self._check("size", checked_counts, "[height, width]", least=1)
        self._check("fill", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        height, width, _ = builder.shape
        rows, columns = (height // 2, width // 2) if self.size is None else map(int, both(self.size))
        builder.add(Draw.HOLE, rows, columns, self._word("fill", builder))


@dataclass(frozen=True)
class RandomErasing(ImageOperation):
    """With probability p a rectangle of one level, anywhere within the image (Zhong et al. 2020).

    scale: its area as a share of the image's, uniform between two numbers. ratio: its height over its width, whose
    logarithm is uniform between those of two numbers. value: its level, from 0 to 255. One that is too long is drawn
    anew, up to ten times.
    """

    level: ClassVar[str] = "value"

    p: float = 0.5
    scale: Number = (0.02, 0.33)
    ratio: Number = (0.3, 3.3)
    value: Fill = 0

    def __post_init__(self) -> None:
        self._check("p", check_number, 0, 1)
        self._check("scale", checked_range, 0, 1)
        self._check("ratio", checked_range, *RATIOS)
        self._check("value", checked_fill)

    def add_to(self, builder: ProgramBuilder) -> None:
        bounds = [*both(self.scale), *(math.log(side) for side in both(self.ratio))]
        builder.add(Draw.ERASE, threshold(self.p), *map(float_bits, bounds), self._word("value", builder))
