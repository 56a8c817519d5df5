"""How the learning rate changes over a run (docs/model.md, "Optimisers")."""

import math
from bisect import bisect_right
from dataclasses import dataclass

SCHEDULES = ("exponential", "multistep", "cosine")


@dataclass(frozen=True)
class LearningRateSchedule:
    """The rate of a step; epochs and steps count from 0.

    exponential: times `annealing` after each epoch. multistep: times `factor` at each of `milestones` (epochs).
    cosine: half a cosine from lr to 0 over the run. All rise linearly over the first `warmup` steps.
    """

    lr: float
    steps_per_epoch: int
    epochs: int
    name: str = "exponential"
    annealing: float = 1.0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    warmup: int = 0

    def at(self, step: int) -> float:
        """The learning rate with which that step, counted from 0 over the whole run, is taken."""
        epoch = step // self.steps_per_epoch
        if self.name == "exponential":
            share = self.annealing**epoch
        elif self.name == "multistep":
            share = self.factor ** bisect_right(self.milestones, epoch)
        else:
            share = 0.5 * (1 + math.cos(math.pi * step / (self.steps_per_epoch * self.epochs)))
        return self.lr * share * min(1.0, (step + 1) / max(1, self.warmup))
