"""The affine maps of the policies as Pillow computes them for its nearest transform, of torchvision's parameters.

A map takes a place of the result to one of the image: u = a x + b y + c, v = d x + e y + f, in pixels whose first one
reaches from 0 to 1. As an instruction it is in fixed point, 1/65536 of a pixel, and begins at a pixel's centre. All is
computed in the same order as there, so that it is rounded alike.
"""

from __future__ import annotations

import math

from .program import KEEP, ONE, Instruction, Operation, instruction

Matrix = tuple[float, float, float, float, float, float]


def shear_x(magnitude: float, fill: int) -> Instruction:
    """Rows shifted in proportion to their number, by `magnitude` pixels a row."""
    # torchvision goes through degrees, which costs some last bits
    return _fixed((1.0, math.tan(_angle(magnitude)), 0.0, 0.0, 1.0, 0.0), fill)


def shear_y(magnitude: float, fill: int) -> Instruction:
    """Columns shifted in proportion to their number, by `magnitude` pixels a column."""
    angle = _angle(magnitude)
    return _fixed((1.0, 0.0, 0.0, math.sin(angle) / math.cos(angle), 1.0, 0.0), fill)


def _angle(magnitude: float) -> float:
    return math.radians(math.degrees(math.atan(magnitude)))


def translation(across: int, down: int, fill: int) -> Instruction:
    """The image moved by whole pixels, to the right and down."""
    return _fixed((1.0, 0.0, -float(across), 0.0, 1.0, -float(down)), fill)


def rotation(degrees: float, height: int, width: int, fill: int) -> Instruction:
    """The image turned about its centre, counter-clockwise.

    Pillow has shortcuts for 0, 90, 180 and 270 degrees. The map gives the same there, whose cosines are rounded to 0.
    """
    angle = -math.radians(degrees % 360.0)
    a, b = round(math.cos(angle), 15), round(math.sin(angle), 15)
    d, e = round(-math.sin(angle), 15), round(math.cos(angle), 15)
    x, y = width / 2, height / 2
    return _fixed((a, b, a * -x + b * -y + 0.0 + x, d, e, d * -x + e * -y + 0.0 + y), fill)


def _fixed(matrix: Matrix, fill: int) -> Instruction:
    if matrix == (1, 0, 0, 0, 1, 0):
        return KEEP
    a, b, c, d, e, f = matrix
    entries = (a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5)
    return instruction(Operation.AFFINE, *(math.floor(entry * ONE + 0.5) for entry in entries), fill=fill)
