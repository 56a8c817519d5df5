"""An epoch's validation: of the weights, and of their average where there is one."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfs_cupy.data import Batches
from ttfs_cupy.engine.average import WeightAverage
from ttfs_cupy.engine.steps.evaluation import Evaluation, Evaluator

logger = logging.getLogger("ttfs_cupy")


@dataclass(frozen=True)
class Validation:
    """Of the weights as training left them, and of the averaged ones; None without."""

    current: Evaluation
    average: Evaluation | None = None

    @property
    def keeps_average(self) -> bool:
        """Whether the averaged weights are the better ones: by accuracy, and of equals they are."""
        if self.average is None or not np.isfinite(self.average.totals.loss):
            return False
        return self.average.totals.accuracy >= self.current.totals.accuracy

    @property
    def kept(self) -> Evaluation:
        """Of the weights that may be a run's best."""
        return self.average if self.average is not None and self.keeps_average else self.current

    def by_class(self) -> dict[str, Any]:
        """For metrics.jsonl: the mean accuracy of the classes where they are of uneven size, else nothing."""
        classes = self.kept.classes
        return {"validation_balanced_accuracy": classes.balanced_accuracy} if classes.are_uneven else {}

    def of_current(self) -> dict[str, Any]:
        """For metrics.jsonl, beside the rates of the better ones: those of the weights that are trained on. An average
        may hide for long that a layer has fallen silent. Nothing without an average."""
        if self.average is None:
            return {}
        return {
            "current_firing_rates": self.current.firing_rates,
            "current_saturations": self.current.saturations,
        }

    def of_both(self) -> dict[str, Any]:
        """For metrics.jsonl, beside what is told of the better ones; nothing without an average."""
        if self.average is None:
            return {}
        found: dict[str, Any] = {"averaged": self.keeps_average}
        for name, totals in (("current", self.current.totals), ("average", self.average.totals)):
            # JSON knows no infinity
            told = bool(np.isfinite(totals.loss))
            found[f"{name}_validation_loss"] = totals.loss if told else None
            found[f"{name}_validation_accuracy"] = totals.accuracy if told else None
        return found


def validate(
    evaluator: Evaluator,
    batches: Batches,
    average: WeightAverage | None,
    interruptible: Callable[[], AbstractContextManager[None]],
    after_batch: Callable[[], None],
) -> Validation:
    """Training goes on afterwards as if nothing had happened. interruptible: what each pass is made within.
    after_batch: called after each batch; what it raises breaks the validation off."""
    start = time.perf_counter()
    averaged = None
    with interruptible():
        current = evaluator.over(batches, "validation", after_batch)
    if average is not None:
        with average.in_place(), interruptible():
            averaged = evaluator.over(batches, "validation, averaged", after_batch)
    logger.debug("validation took %.2f s", time.perf_counter() - start)
    return Validation(current, averaged)
