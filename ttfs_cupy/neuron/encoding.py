"""Input encoders: from pixels to the first layer's input, in earliness (docs/model.md, "Input encoders")."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.device import Array

ENCODINGS = ("latency", "direct")


@dataclass(frozen=True)
class Encoder:
    """`latency`: x = T p, so a black pixel is silent. With standardize: x = T z, which leaves the window.

    `direct`: z itself, the real-valued input of a coding layer (Wei et al., ICCV 2023). z = (p - mean) / std, with mean
    and std of the training set, (C,); without them z = p.
    """

    encoding: str = "latency"
    t_win: float = 1.0
    standardize: bool = False
    mean: np.ndarray | None = None
    std: np.ndarray | None = None

    def __call__(self, pixels: Array, xp: ModuleType = np) -> Array:
        """Encodes float32 pixels in [0, 1], channels last, of the array library xp."""
        values = pixels
        if (self.standardize or self.encoding == "direct") and self.mean is not None and self.std is not None:
            mean, std = (xp.asarray(statistic, dtype=np.float32) for statistic in (self.mean, self.std))
            values = (pixels - mean) / std
        if self.encoding == "latency" and self.t_win != 1:
            values = values * np.float32(self.t_win)
        return values
