"""Images made worse: noise, blur, and lost contrast, drawn for each image from a seed and its index.

What imperfect sensors do, after Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations" (2019); there a severity of 1 to 5 stands for such levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ttfs_cupy.common.checks import check_choice, check_count, check_kind, check_number
from ttfs_cupy.common.shown import listed

from .batches import Batches
from .sources.images import ImageSet

Values = NDArray[np.float32]

# Of a Gaussian blur: beyond so many sigmas its weights are left out
REACH = 4.0
# Images that are worked on at a time have about so many values
PIECE = 1 << 20


@dataclass(frozen=True)
class Corruption:
    """What is done to pixels p in [0, 1], and how much of it; level 0 is nothing.

    gaussian: a normal deviate of sigma `level` is added to each value, and the sum clipped to [0, 1]. salt: each pixel,
    with all of its channels, is replaced with probability `level`, by black or white with equal chances. blur: each
    channel is convolved with a Gaussian of sigma `level` pixels, cut at 4 sigma; what lies beyond the edge is as the
    nearest pixel. contrast: p + level (m - p), where m is the mean of all values of the image; level 1 leaves a flat
    grey. Levels lie in [0, 1], those of blur in [0, 32]. Raises UserError for others, and for another name.
    """

    name: str
    level: float

    def __post_init__(self) -> None:
        check_choice("a corruption", self.name, CORRUPTIONS)
        level = check_number(f"the level of {self.name}", self.level, 0, _KINDS[self.name].most)
        object.__setattr__(self, "level", level)

    @property
    def is_drawn(self) -> bool:
        """Whether another seed is another corruption."""
        return self.level > 0 and _KINDS[self.name].is_drawn

    def __str__(self) -> str:
        return _KINDS[self.name].said.format(level=f"{self.level:g}", percent=f"{100 * self.level:g} %")


def described(corruptions: Sequence[Corruption], seed: int) -> str:
    """In the order in which they are applied; empty for none."""
    drawn = f" (seed {seed})" if any(one.is_drawn for one in corruptions) else ""
    return f"images with {listed(map(str, corruptions), 20)}{drawn}" if corruptions else ""


def corrupted(images: ImageSet, corruptions: Iterable[Corruption], seed: int = 0) -> ImageSet:
    """A copy with corrupted pixels; the corruptions follow one another.

    Pixels are rounded to bytes at the end, in as many steps as fit: `maximum` of the copy is the largest multiple of
    the original's that a byte holds, so that images of 17 levels, say, get 241, and keep their meaning bit for bit
    where nothing is done to them. Of one image all is drawn from the seed, its index in the set and the corruption's
    place alone: the same in a set that has fewer images behind it. Raises UserError for a seed below 0, TypeError for
    what is no set and no corruption.
    """
    check_kind("images", images, ImageSet)
    chosen = list(corruptions)
    for one in chosen:
        check_kind("a corruption", one, Corruption)
    seed = check_count("noise_seed", seed, least=0, most=2**64 - 1)
    finer = 255 // images.maximum
    maximum, pixels = finer * images.maximum, images.images
    result = np.empty_like(pixels)
    rows = max(1, PIECE // max(1, pixels[:1].size))
    for first in range(0, len(pixels), rows):
        values = pixels[first : first + rows].astype(np.float32) / np.float32(images.maximum)
        for place, one in enumerate(chosen):
            if one.level:
                generators = _Generators(seed, place, first)
                values = _KINDS[one.name].function(values, one.level, generators)
        result[first : first + rows] = np.rint(values * np.float32(maximum))
    return ImageSet(result, images.labels, maximum, images.class_names)


def corrupted_batches(batches: Batches, corruptions: Sequence[Corruption], seed: int = 0) -> Batches:
    """The batches of a set that is neither shuffled nor augmented, with corrupted pixels; without any, those given."""
    if not corruptions:
        return batches
    images = corrupted(batches.images, corruptions, seed)
    size, members = batches.batch_size, batches.members
    return Batches(images, size, encode=batches.encode, members=members, resident=batches.resident)


@dataclass(frozen=True)
class _Generators:
    """Of a piece of the set, whose first image has index `first`: one for each image."""

    seed: int
    place: int
    first: int

    def each(self, draw: Callable[[np.random.Generator], NDArray[np.float32]], count: int) -> Values:
        """What is drawn for each of `count` images, stacked."""
        indices = range(self.first, self.first + count)
        return np.stack([draw(self._of(index)) for index in indices])

    def _of(self, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=(self.place, index))))


def _gaussian(values: Values, level: float, generators: _Generators) -> Values:
    shape = values.shape[1:]
    noise = generators.each(lambda drawing: drawing.standard_normal(shape, np.float32), len(values))
    noise *= np.float32(level)
    noise += values
    return noise.clip(0, 1, out=noise)


def _salt(values: Values, level: float, generators: _Generators) -> Values:
    """One number a pixel decides: the lowest turn black, the highest white. So of one seed what is replaced at a low
    level is replaced by the same at a higher one."""
    shape = values.shape[1:3]
    drawn = generators.each(lambda drawing: drawing.random(shape, np.float32), len(values))[..., np.newaxis]
    half = np.float32(level / 2)
    return np.where(drawn < half, np.float32(0), np.where(drawn >= 1 - half, np.float32(1), values))


def _blur(values: Values, level: float, _: _Generators) -> Values:
    offsets = np.arange(-math.ceil(REACH * level), math.ceil(REACH * level) + 1)
    # of a level next to 0 all weight is in the middle
    with np.errstate(over="ignore"):
        weights = np.exp(-0.5 * (offsets / level) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    # rounding must not carry a sum of shares beyond white
    return _convolved(_convolved(values, weights, 1), weights, 2).clip(0, 1)


def _convolved(values: Values, weights: Values, axis: int) -> Values:
    """Along an axis, the outermost pixels repeated beyond the edges."""
    reach, size = len(weights) // 2, values.shape[axis]
    result = np.zeros_like(values)
    for offset, weight in enumerate(weights, -reach):
        result += weight * values.take(np.arange(offset, offset + size).clip(0, size - 1), axis)
    return result


def _contrast(values: Values, level: float, _: _Generators) -> Values:
    mean = values.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    return values + np.float32(level) * (mean - values)


@dataclass(frozen=True)
class _Kind:
    """function: of pixels (N, H, W, C) in [0, 1], a level above 0, and generators. said: how a message names it. most:
    the highest level."""

    function: Callable[[Values, float, _Generators], Values]
    said: str
    is_drawn: bool
    most: float = 1.0


_KINDS = {
    "gaussian": _Kind(_gaussian, "Gaussian noise of sigma {level}", is_drawn=True),
    "salt": _Kind(_salt, "{percent} of pixels black or white", is_drawn=True),
    "blur": _Kind(_blur, "a Gaussian blur of sigma {level} pixels", is_drawn=False, most=32.0),
    "contrast": _Kind(_contrast, "{percent} less contrast", is_drawn=False),
}
CORRUPTIONS = tuple(_KINDS)
