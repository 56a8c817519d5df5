"""Numbers as tensor cores multiply them, in NumPy: a float32 rounded to one short number, or to the sum of several.

A term is the nearest: `tf32` at a tie away from zero, as in the kernels, halves and bfloat16 to even. All are finite.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FLOAT32 = "float32"

# As in kernels/cooperative/tensorcore/operands.h and convolution/tensorcore/split.py
LARGEST_HALF = 65504.0
SMALLEST_NORMAL_HALF = 2.0**-14
UNIT_BITS = 8
WEIGHT_UNIT = 2.0**UNIT_BITS

# What is left of an earliness that would round to 0, so that the mask still sees it.
TINY = np.finfo(np.float32).tiny

# What is rounded at a time, so that intermediate arrays stay in cache.
AT_A_TIME = 1 << 14

# Takes float32 numbers and where to write them, which may be the same array; both C-contiguous.
Nearest = Callable[[np.ndarray, np.ndarray], None]


def nearest_tf32(values: np.ndarray, out: np.ndarray) -> None:
    """11 significant bits, ties away from zero."""
    bits = out.view(np.uint32)
    np.add(values.view(np.uint32), np.uint32(0x1000), out=bits)
    np.bitwise_and(bits, np.uint32(0xFFFFE000), out=bits)


def nearest_bfloat16(values: np.ndarray, out: np.ndarray) -> None:
    """8 significant bits, ties to even."""
    bits = values.view(np.uint32)
    odd = bits >> np.uint32(16) & np.uint32(1)
    odd += bits
    odd += np.uint32(0x7FFF)
    np.bitwise_and(odd, np.uint32(0xFFFF0000), out=out.view(np.uint32))


def nearest_half(values: np.ndarray, out: np.ndarray) -> None:
    """11 significant bits or, below 2^-14, multiples of 2^-24; ties to even. What is beyond its range is its end."""
    inside = np.clip(values, np.float32(-LARGEST_HALF), np.float32(LARGEST_HALF))
    # 1.5 x 2^13 times a number's power of two: so large that adding and subtracting it leaves the number 11 bits
    power = inside.view(np.uint32) & np.uint32(0x7F800000)
    np.maximum(power, np.float32(SMALLEST_NORMAL_HALF).view(np.uint32), out=power)
    power += np.uint32(13 << 23 | 1 << 22)
    large = power.view(np.float32)
    inside += large
    np.subtract(inside, large, out=out)


@dataclass(frozen=True)
class Format:
    """A number is the sum of so many terms, each the nearest to what those before it leave.

    scaled: whether it is multiplied by a unit, a power of two, before it is rounded.
    """

    name: str
    nearest: Nearest
    count: int = 1
    scaled: bool = False

    def terms(self, values: np.ndarray, unit: float = 1.0) -> list[np.ndarray]:
        """Their sum is the rounded number, the largest first."""
        scale = np.float32(unit if self.scaled else 1.0)
        rest = np.multiply(values, scale, dtype=np.float32)
        found = []
        for _ in range(self.count):
            term = np.empty_like(rest)
            self.nearest(rest, term)
            rest = rest - term
            found.append(term / scale)
        return found

    def round(self, values: np.ndarray, out: np.ndarray, unit: float = 1.0) -> None:
        """Writes the rounded numbers, in float32, which holds them exactly."""
        if self.count == 1 and not self.scaled:
            self.nearest(values, out)
            return
        from_flat, to_flat = values.reshape(-1), out.reshape(-1)
        for start in range(0, len(from_flat), AT_A_TIME):
            part = slice(start, start + AT_A_TIME)
            first, *others = self.terms(from_flat[part], unit)
            for term in others:
                first += term
            to_flat[part] = first

    def round_earliness(self, values: np.ndarray, out: np.ndarray, unit: float = 1.0) -> None:
        """The same, but what is not 0 does not become 0."""
        self.round(values, out, unit)
        lost = (out == 0) & (values != 0)
        if lost.any():
            out[lost] = np.copysign(TINY, values[lost])


FORMATS = {
    known.name: known
    for known in (
        Format("split", nearest_half, 2, scaled=True),
        Format("tf32", nearest_tf32),
        Format("half", nearest_half, scaled=True),
        Format("bf16x2", nearest_bfloat16, 2),
        Format("bf16x3", nearest_bfloat16, 3),
    )
}


def earliness_unit(t_win: float) -> float:
    """What an earliness of 1 is multiplied as, in a format that scales."""
    return 2.0 ** (UNIT_BITS - math.ceil(math.log2(t_win)))
