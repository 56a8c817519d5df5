"""Input encoders: from pixels to the first layer's input, in earliness (docs/model.md, "Input encoders")."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.numbers import check_positive
from ttfs_cupy.common.shown import shown
from ttfs_cupy.device import Array

ENCODINGS = ("latency", "direct")

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Encoder:
    """`latency`: x = T p, so a black pixel is silent. With standardize: x = T z, which leaves the window.

    `direct`: z itself, the real-valued input of a coding layer (Wei et al., ICCV 2023). z = (p - mean) / std, with mean
    and std of the training set, (C,); without them z = p. Raises UserError that names what is none of this.
    """

    encoding: str = "latency"
    t_win: float = 1.0
    standardize: bool = False
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise UserError(f"encoding must be one of {', '.join(ENCODINGS)}, not {shown(self.encoding)}")
        check_positive("t_win", self.t_win)
        for name, statistic in (("mean", self.mean), ("std", self.std)):
            if statistic is not None and not _is_of_channels(statistic):
                raise UserError(f"{name} must be None or finite numbers of shape (channels,)")
        if not isinstance(self.standardize, bool):
            raise UserError(f"standardize must be true or false, not {shown(self.standardize)}")
        if (self.mean is None) != (self.std is None):
            raise UserError("mean and std must be given together")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise UserError(f"mean has {len(self.mean)} channels, std {len(self.std)}")
            standardises = self.standardize or self.encoding == "direct"
            if standardises and not (np.asarray(self.std) > 0).all():
                raise UserError("std must be above 0 in every channel")

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what values, both included, its results lie."""
        if self.encoding == "latency" and not self.standardize:
            return 0.0, float(np.float32(self.t_win))
        return -LARGEST, LARGEST

    def __call__(self, pixels: Array, xp: ModuleType = np) -> Array:
        """Encodes float32 pixels in [0, 1], channels last, of the array library xp."""
        values = pixels
        if (self.standardize or self.encoding == "direct") and self.mean is not None and self.std is not None:
            mean, std = (xp.asarray(statistic, dtype=np.float32) for statistic in (self.mean, self.std))
            values = (pixels - mean) / std
        if self.encoding == "latency" and self.t_win != 1:
            values = values * np.float32(self.t_win)
        return values


def _is_of_channels(statistic: np.ndarray) -> bool:
    values = np.asarray(statistic)
    return values.ndim == 1 and len(values) > 0 and values.dtype.kind in "fiu" and bool(np.isfinite(values).all())
