"""What a reader of files found, not yet checked."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Raw(NamedTuple):
    """Images, labels, and the files that they came from, for messages."""

    images: NDArray[Any]
    labels: NDArray[Any]
    where: str
