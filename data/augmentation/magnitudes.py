"""How strong the changes of a policy are, bin by bin, and each as an instruction for images of a shape.

Magnitudes are float32, since torchvision's are: where one is cut to a whole number of pixels, or stands beside a pixel,
the last bit may decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from . import affine_maps
from .program import KEEP, Choice, Instruction, Operation, Shape, float_bits, instruction


class Range(NamedTuple):
    """The largest magnitude of each kind of change; of a translation either in pixels, or as a share of the size."""

    shear: float
    translation: float
    rotation: float
    enhancement: float
    bits: int
    is_share: bool


# of AutoAugment and RandAugment; their translation is published as 150 pixels of 331
NARROW = Range(0.3, 150 / 331, 30.0, 0.9, 4, True)
# of TrivialAugment
WIDE = Range(0.99, 32.0, 135.0, 0.99, 6, False)


class Space(NamedTuple):
    """bins: into how many steps a range is divided, at least 2."""

    bins: int
    range: Range


class _Change(NamedTuple):
    """A change of one magnitude: of which bin, in which space, for images of which shape, on which ground."""

    level: int
    space: Space
    shape: Shape
    fill: int

    def between(self, first: float, last: float) -> float:
        return between(first, last, self.space.bins, self.level)


def between(first: float, last: float, bins: int, level: int) -> float:
    """Of `bins` numbers evenly from first to last that at `level`, a float32 as torch.linspace computes it.

    Its step is a float32, and the nearer end is where it counts from.
    """
    start, end = float(np.float32(first)), float(np.float32(last))
    step = float(np.float32(np.float32(end) - np.float32(start)) / np.float32(bins - 1))
    exact = start + step * level if level < bins // 2 else end - step * (bins - 1 - level)
    return float(np.float32(exact))


def choice(name: str, chance: float, level: int, space: Space, shape: Shape, fill: int) -> Choice:
    """The change called `name` as a row of choices: with its magnitude, and with the opposite where it has one."""
    change = _Change(level, space, shape, fill)
    if name in _SIGNED:
        positive, negative = (_SIGNED[name](change, sign) for sign in (1, -1))
        return Choice(chance, positive, negative)
    one = _UNSIGNED[name](change)
    return Choice(chance, one, one)


def _sheared(shear: Callable[[float, int], Instruction], change: _Change, sign: int) -> Instruction:
    return shear(sign * change.between(0, change.space.range.shear), change.fill)


def _translated(axis: int, change: _Change, sign: int) -> Instruction:
    """axis: of the shape, 0 for down and 1 for across."""
    most = change.space.range.translation
    distance = sign * int(change.between(0, most * change.shape[axis] if change.space.range.is_share else most))
    return affine_maps.translation(distance if axis else 0, 0 if axis else distance, change.fill)


def _rotated(change: _Change, sign: int) -> Instruction:
    degrees = sign * change.between(0, change.space.range.rotation)
    return affine_maps.rotation(degrees, change.shape[0], change.shape[1], change.fill)


def _enhanced(operation: Operation, change: _Change, sign: int) -> Instruction:
    factor = 1.0 + sign * change.between(0, change.space.range.enhancement)
    return KEEP if factor == 1 else instruction(operation, float_bits(factor))


def _posterized(change: _Change) -> Instruction:
    steps_a_bit = np.float32((change.space.bins - 1) / change.space.range.bits)
    bits = 8 - int(np.rint(np.float32(change.level) / steps_a_bit))
    return KEEP if bits == 8 else instruction(Operation.POSTERIZE, bits)


def _solarized(change: _Change) -> Instruction:
    # pixels are whole numbers: to be below a number is to be below the next whole one
    return instruction(Operation.SOLARIZE, math.ceil(change.between(255, 0)))


_SIGNED: Mapping[str, Callable[[_Change, int], Instruction]] = {
    "ShearX": partial(_sheared, affine_maps.shear_x),
    "ShearY": partial(_sheared, affine_maps.shear_y),
    "TranslateX": partial(_translated, 1),
    "TranslateY": partial(_translated, 0),
    "Rotate": _rotated,
    "Brightness": partial(_enhanced, Operation.BRIGHTNESS),
    "Color": partial(_enhanced, Operation.COLOR),
    "Contrast": partial(_enhanced, Operation.CONTRAST),
    "Sharpness": partial(_enhanced, Operation.SHARPNESS),
}
_UNSIGNED: Mapping[str, Callable[[_Change], Instruction]] = {
    "Identity": lambda _: KEEP,
    "Posterize": _posterized,
    "Solarize": _solarized,
    "AutoContrast": lambda _: instruction(Operation.AUTO_CONTRAST),
    "Equalize": lambda _: instruction(Operation.EQUALIZE),
    "Invert": lambda _: instruction(Operation.INVERT),
}
