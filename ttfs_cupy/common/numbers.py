"""Checks of the numbers that a caller gives: what a config refuses, a class refuses, too."""

import math
import numbers

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

# Of float32, in which all of them end: the smallest that has all its digits, and the largest
SMALLEST, LARGEST = 2.0**-126, 3.4028234663852886e38

# More than that of anything is a mistake; NumPy and the kernels count in fewer bits than Python.
MOST = 2**31 - 1


def check_number(name: str, value: object, right: str, *, least: float = -LARGEST, most: float = LARGEST) -> float:
    """The number as a float. Raises UserError, "NAME must be RIGHT, not VALUE", unless it lies in least to most."""
    # written so that NaN, which compares false to everything, is refused
    if not (is_number(value) and least <= value <= most):  # type: ignore[operator]
        raise UserError(f"{name} must be {right}, not {shown(value)}")
    return float(value)  # type: ignore[arg-type]


def check_positive(name: str, value: object) -> float:
    """The number as a float. Raises UserError unless it is above 0 and float32 holds it."""
    return check_number(name, value, f"a number above 0, from {SMALLEST:.1e} to {LARGEST:.1e}", least=SMALLEST)


def check_not_negative(name: str, value: object) -> float:
    """The number as a float. Raises UserError unless it is 0, or above it and float32 holds it."""
    if is_number(value) and value == 0:
        return 0.0
    return check_number(name, value, f"0, or a number from {SMALLEST:.1e} to {LARGEST:.1e}", least=SMALLEST)


def check_count(name: str, value: object, *, least: int = 1, most: int = MOST) -> int:
    """The whole number as an int. Raises UserError unless it lies in least to most."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or int(value) < least:
        raise UserError(f"{name} must be a whole number from {least}, not {shown(value)}")
    if int(value) > most:
        raise UserError(f"{name} must be at most {most}, not {shown(value)}")
    return int(value)


def is_number(value: object) -> bool:
    """Whether it is a real number, NumPy's too; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
