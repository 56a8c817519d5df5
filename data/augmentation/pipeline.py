"""An augmentation: operations, one after the other, that every training image goes through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from ttfs_cupy.common.checks import check_count
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

from .operations import ImageOperation
from .program import MOST_PIXELS, Program, ProgramBuilder, Shape


@dataclass(frozen=True)
class Augmentation:
    """Random changes to training images, all operations in their order; none of them is no augmentation.

    called: the name that stands for these operations, if there is one. Augmentations of equal operations are equal.
    str() is the name, or the list as one line of YAML.
    """

    operations: tuple[ImageOperation, ...]
    called: str = field(default="", compare=False)

    @property
    def needs_bytes(self) -> bool:
        """Whether it is made for pixels of 0..255: other levels would be mixed with its own."""
        return any(operation.needs_bytes for operation in self.operations)

    def program(self, shape: Shape) -> Program:
        """What the kernels draw and carry out for images of shape (H, W, C): slots int32 (S, 8), choices int32 (R, 17).

        Raises UserError for images that an operation is not made for, and for more than 32 slots.
        """
        builder = ProgramBuilder(_checked(shape))
        for number, operation in enumerate(self.operations, 1):
            try:
                operation.add_to(builder)
            except UserError as error:
                raise UserError(f"augmentation operation {number}, {error}") from None
        return builder.program()

    def plain(self) -> str | list[Any]:
        """As YAML gives it, and as `augmentation` takes it: the name, or a list of operations' names and parameters."""
        return self.called or [
            {operation.name: given} if (given := operation.given()) else operation.name for operation in self.operations
        ]

    def __str__(self) -> str:
        plain = self.plain()
        if isinstance(plain, str):
            return plain
        return yaml.safe_dump(plain, default_flow_style=True, sort_keys=False, width=1 << 20).strip()


def _checked(shape: Shape) -> Shape:
    if not isinstance(shape, tuple) or len(shape) != 3:
        raise UserError(f"shape must be an image's (height, width, channels), not {shown(shape)}")
    names = ("the images' height", "the images' width", "the number of channels")
    height, width, channels = (check_count(*pair, most=MOST_PIXELS) for pair in zip(names, shape, strict=True))
    return height, width, channels
