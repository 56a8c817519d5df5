"""Input encoders: from pixels to the first layer's input, in earliness (docs/model.md, "Input encoders")."""

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from ttfs_cupy.common.checks import LARGEST, check_choice, check_flag, check_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Array
from ttfs_cupy.neuron.spike_time import WINDOWS

ENCODINGS = ("latency", "direct")

# Of numbers up to 1: four steps of float32
MARGIN = 2.0**-21


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
        check_choice("encoding", self.encoding, ENCODINGS)
        check_number("t_win", self.t_win, *WINDOWS)
        check_flag("standardize", self.standardize)
        for name, statistic in (("mean", self.mean), ("std", self.std)):
            if statistic is not None and not _is_of_channels(statistic):
                raise UserError(f"{name} must be None or finite numbers of shape (channels,)")
        if (self.mean is None) != (self.std is None):
            raise UserError("mean and std must be given together")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std):
                raise UserError(f"mean has {len(self.mean)} channels, std {len(self.std)}")
            if self.standardizes and not (np.asarray(self.std) > 0).all():
                raise UserError("std must be above 0 in every channel")
            if not np.isfinite(self._extremes()).all():
                raise UserError("std is too small, or mean too large: standardised images would leave float32")

    @property
    def bounds(self) -> tuple[float, float]:
        """Between what values, both included, its results lie: those of a black and of a white pixel, in any channel.

        Statistics widen them by what may be rounded differently, by another device or in float64.
        """
        least, most = self._extremes()
        if self.mean is None or self.std is None or not self.standardizes:
            return least, most
        scale = self.t_win if self.encoding == "latency" else 1.0
        # before it is divided, a mean close to the pixel leaves little but rounding
        slack = MARGIN * scale * float((np.maximum(1, np.abs(self.mean)) / np.asarray(self.std, np.float64)).max())
        return max(least - slack, -LARGEST), min(most + slack, LARGEST)

    def _extremes(self) -> tuple[float, float]:
        channels = len(self.mean) if self.mean is not None else 1
        with np.errstate(all="ignore"):  # what is not finite is refused
            black, white = (self(np.full(channels, pixel, np.float32)) for pixel in (0, 1))
        return float(black.min()), float(white.max())

    @property
    def is_spike_code(self) -> bool:
        """Whether its results are earliness in [0, T], of spikes that have a time."""
        return self.encoding == "latency" and not self.standardizes

    @property
    def standardizes(self) -> bool:
        """Whether it reads z, not p."""
        return (self.standardize or self.encoding == "direct") and self.mean is not None

    def __call__(self, pixels: Array, xp: ModuleType = np) -> Array:
        """Encodes float32 pixels in [0, 1], channels last, of the array library xp."""
        values = pixels
        if self.standardizes:
            mean, std = (xp.asarray(statistic, dtype=np.float32) for statistic in (self.mean, self.std))
            values = (pixels - mean) / std
        if self.encoding == "latency" and self.t_win != 1:
            values = values * np.float32(self.t_win)
        return values


def _is_of_channels(statistic: np.ndarray) -> bool:
    values = np.asarray(statistic)
    return values.ndim == 1 and len(values) > 0 and values.dtype.kind in "fiu" and bool(np.isfinite(values).all())
