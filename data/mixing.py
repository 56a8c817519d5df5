"""Two images in one, and what it is then: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019).

An image's partner is any one of its epoch, changed by chance as it is itself in that epoch. Each image has a share of
its own: one for a whole batch, as published, would make some steps nearly plain and others all halves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ttfs_cupy.common.checks import check_choice, check_number

# Of the Beta distribution that shares come from: below, all are 0 or 1; above, all are halves.
ALPHAS = (0.01, 100.0)

# What each is to the kernel draw_mixtures
_CUTS = {"mixup": 0, "cutmix": 1, "both": 2}
MIXES = ("none", *_CUTS)


class _Device(Protocol):
    def to_device(self, array: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class MixedLabels:
    """What the images of a batch are when each is made of two.

    labels, others: int32 (N,), the classes of the two. shares: float32 (N,), in [0, 1]: how much of an image is of the
    class in `labels`; the rest is of that in `others`. All NumPy, or all on one device.
    """

    labels: Any
    others: Any
    shares: Any

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: _Device) -> MixedLabels:
        """The same on a device, as device.to_device() copies arrays."""
        return MixedLabels(*map(device.to_device, self.arrays))

    @property
    def arrays(self) -> tuple[Any, Any, Any]:
        return self.labels, self.others, self.shares


@dataclass(frozen=True)
class Mixing:
    """How images are mixed: "mixup", "cutmix", or "both", each for about half of the images.

    mixup: each pixel is share·image + (1 - share)·partner, the share being Beta(alpha, alpha).
    cutmix: a rectangle is the partner's: of the image's shape, its area 1 - Beta(alpha, alpha), its centre anywhere.
    The border may cut a part off, as published; the share is what is left of the image.
    Raises UserError for another name or alpha.
    """

    name: str
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_choice("mix", self.name, tuple(_CUTS))
        object.__setattr__(self, "alpha", check_number("mix_alpha", self.alpha, *ALPHAS))

    @property
    def cut(self) -> int:
        """What the kernel that draws mixtures calls it."""
        return _CUTS[self.name]


def mixing(name: str, alpha: float = 1.0) -> Mixing | None:
    """The mixing called `name`, None for "none". Raises UserError if there is none."""
    check_choice("mix", name, MIXES)
    return None if name == "none" else Mixing(name, alpha)
