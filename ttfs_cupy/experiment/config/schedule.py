"""How the learning rate changes over a run (docs/model.md, "Optimisers")."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

from ttfs_cupy.common.checks import SMALLEST, check_choice, check_count, check_number, check_positive
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown

SCHEDULES = ("exponential", "multistep", "cosine", "onecycle")


@dataclass(frozen=True)
class LearningRateSchedule:
    """The rate of a step, of the optimiser's; epochs and steps count from 0.

    exponential: times `annealing` after each epoch. multistep: times `factor` at each of `milestones` (epochs).
    cosine: half a cosine from lr to 0 over the run. These rise linearly over the first `warmup` steps.
    onecycle (Smith and Topin, 2018): half a cosine from lr * start_factor up to lr, over the share `rise` of the run,
    and half of one down to lr * end_factor, its last step's. As in PyTorch's OneCycleLR, but momentum stays as it is.
    """

    lr: float
    steps_per_epoch: int
    epochs: int
    name: str = "exponential"
    annealing: float = 1.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    warmup: int = 0
    rise: float = 0.3
    start_factor: float = 0.04
    end_factor: float = 4e-6

    def __post_init__(self) -> None:
        """Raises UserError that names what is none of this."""
        check_choice("name", self.name, SCHEDULES)
        if not isinstance(self.milestones, (tuple, list)):
            raise UserError(f"milestones must be epochs, such as (15, 30), not {shown(self.milestones)}")
        # as Python's own numbers: NumPy's may be too short for what is counted with them
        exact: dict[str, object] = {
            "lr": check_positive("lr", self.lr),
            **{name: check_count(name, getattr(self, name)) for name in ("steps_per_epoch", "epochs")},
            "warmup": check_count("warmup", self.warmup, least=0),
            **{name: check_number(name, getattr(self, name), SMALLEST, 1) for name in ("annealing", "factor")},
            **{name: check_number(name, getattr(self, name), 0, 1) for name in ("rise", "start_factor", "end_factor")},
            "milestones": tuple(check_count("a milestone", milestone) for milestone in self.milestones),
        }
        for name, value in exact.items():
            object.__setattr__(self, name, value)
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise UserError(f"milestones must increase, as (15, 30) do, not {shown(self.milestones)}")
        if self.name == "multistep" and not self.milestones:
            raise UserError("milestones are missing: multistep needs epochs, such as (15, 30)")
        if self.name == "onecycle" and self.warmup:
            raise UserError("warmup has no effect with onecycle, which rises by itself: leave it out, or set rise")

    def at(self, step: int) -> float:
        """The learning rate with which that step, counted from 0 over the whole run, is taken."""
        step = check_count("step", step, least=0)
        epoch = step // self.steps_per_epoch
        if self.name == "exponential":
            share = self.annealing**epoch
        elif self.name == "multistep":
            share = self.factor ** bisect_right(self.milestones, epoch)
        elif self.name == "cosine":
            share = _half_cosine(1.0, 0.0, step / self._steps)
        else:
            share = self._onecycle(step)
        return self.lr * share * min(1.0, (step + 1) / max(1, self.warmup))

    @property
    def _steps(self) -> int:
        return self.steps_per_epoch * self.epochs

    def _onecycle(self, step: int) -> float:
        # the peak need not be at a step
        peak, last = self.rise * self._steps - 1, self._steps - 1
        if step < peak:
            return _half_cosine(self.start_factor, 1.0, step / peak)
        if step == peak:
            return 1.0
        return _half_cosine(1.0, self.end_factor, min(1.0, (step - peak) / max(last - peak, 1e-9)))


def _half_cosine(start: float, end: float, done: float) -> float:
    """From start to end, flat at both."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
