"""Cross-entropy of the readout's potentials, and running totals that stay on the device until somebody reads them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfs_cupy.common.checks import check_count, check_number, is_number
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.data import MixedLabels
from ttfs_cupy.device import Array, Device, reductions
from ttfs_cupy.engine.optimizer import BELOW_ONE
from ttfs_cupy.engine.turns import Turns, in_turn
from ttfs_cupy.engine.validity import Labels, Validity
from ttfs_cupy.neuron.silent_classes import EXCLUDED, LATEST, exclude_silent

# What a class may count: more apart, and the smaller weights would be lost in a sum of float32
CLASS_WEIGHTS = (1e-6, 1e6)


@dataclass(frozen=True)
class Totals:
    """Since the last reset: mean loss and accuracy over the images seen. not_finite: batches with such a loss.

    Of several ranks each takes its own part of a batch for one: of parts whose loss is finite the sums tell, whatever
    the other parts' is, and not_finite counts parts.
    """

    loss: float
    accuracy: float
    images: int
    not_finite: int = 0

    @classmethod
    def of_all(cls, sums: Sequence[float]) -> "Totals":
        """Of what CrossEntropy.sums() gives, or several ranks' added up: with any such batch the loss is NaN."""
        loss, correct, images, other_correct, other_images, not_finite = sums
        whole = math.nan if not_finite else loss
        return cls._of(whole, correct + other_correct, images + other_images, not_finite)

    @classmethod
    def of_finite(cls, sums: Sequence[float]) -> "Totals":
        """The same of the batches whose loss is finite alone; without any, the loss is NaN."""
        loss, correct, images, *_, not_finite = sums
        return cls._of(loss if images or not not_finite else math.nan, correct, images, not_finite)

    @classmethod
    def _of(cls, loss: float, correct: float, images: float, not_finite: float) -> "Totals":
        # of nothing, 0
        count = images or 1.0
        return cls(float(loss / count), float(correct / count), int(images), int(not_finite))


def check_smoothing(value: Any) -> float:
    """Label smoothing as a float. Raises UserError unless it is from 0 to below 1."""
    if not (is_number(value) and 0 <= value <= BELOW_ONE):
        raise UserError(f"label_smoothing must be a number from 0 to below 1, not {shown(value)}")
    return float(value)


def class_weights_on(device: Device, weights: Any, classes: int) -> Array | None:
    """The classes' weights in the loss, float32 (classes,) on the device; None for None.

    Raises UserError unless they are so many numbers within CLASS_WEIGHTS, on the host.
    """
    if weights is None:
        return None
    given = weights.tolist() if isinstance(weights, np.ndarray) else weights
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != classes:
        raise UserError(f"class_weights must be {classes} numbers, one for each class, not {shown(given)}")
    checked = [check_number(f"the weight of class {k}", weight, *CLASS_WEIGHTS) for k, weight in enumerate(given)]
    with device.current():
        return device.to_device(np.array(checked, np.float32))


def check_images(images: int | None, rows: int) -> int:
    """How many images a batch has of which so many rows are here; None: the rows. Raises UserError for fewer."""
    return rows if images is None else check_count("images, those of the whole batch,", images, least=rows)


class CrossEntropy:
    """softmax cross-entropy, mean over the batch; prediction is the argmax (docs/model.md, "Readout").

    turns: of the network whose loss it is. silent: what silent classes are in the softmax, one of SILENT.
    """

    def __init__(
        self, device: Device, batch_size: int, classes: int, validity: Validity, turns: Turns, silent: str = LATEST
    ):
        xp = device.xp
        self._device = device
        self._validity = validity
        self.turns = turns
        self.grad = xp.empty((batch_size, classes), np.float32)
        self._logits = xp.empty((batch_size, classes), np.float32) if silent == EXCLUDED else None
        self._row_loss = xp.empty(batch_size, np.float32)
        self._row_correct = xp.empty(batch_size, np.int32)
        self._arrived = xp.zeros(1, np.int32)
        self._totals = xp.zeros(reductions.TOTALS, np.float64)

    @in_turn
    def add(
        self,
        potentials: Array,
        labels: Labels,
        smoothing: float = 0.0,
        class_weights: Array | None = None,
        images: int | None = None,
    ) -> Array:
        """Adds a batch to the totals; returns dLoss/d(potentials), (rows, classes), valid until the next call.

        potentials: the readout's output, so earliness where it fires. Of an excluded class that is silent the gradient
        is that of what stands in its place; the neuron lets none pass.
        labels: int32 (rows,), or MixedLabels. One that is no class, or a share outside [0, 1], has the whole batch
        count for nothing, its gradient be NaN, and ValueError raised by the next read(), on a CPU by this call.
        smoothing: the share of the target that all classes have evenly, from 0 to below 1.
        class_weights: float32 (classes,), as class_weights_on() makes them; None for 1.
        images: how many the whole batch has, if these are one rank's part of it: the gradient is that of the mean over
        them, so that the ranks' gradients add up. None: these are all. Raises UserError for fewer than are here.
        """
        self._validity.check_potentials(potentials, self.grad.shape)
        self._validity.check_labels(labels, len(potentials))
        self._validity.check_class_weights(class_weights)
        smoothing = check_smoothing(smoothing)
        images = check_images(images, len(potentials))
        grad = self.grad[: len(potentials)]
        scratch = (self._row_loss, self._row_correct, self._arrived)
        marks = self._validity.marks
        settings = smoothing, class_weights
        targets = *_targets(labels), *settings
        logits = self._in_softmax(potentials)
        reductions.cross_entropy(self._device, logits, *targets, marks, grad, *scratch, self._totals, images)
        self._validity.raise_if_known()
        return grad

    def _in_softmax(self, potentials: Array) -> Array:
        if self._logits is None:
            return potentials
        logits = self._logits[: len(potentials)]
        exclude_silent(self._device, potentials, logits)
        return logits

    @in_turn
    def count_classes(self, labels: Labels, images: Array, correct: Array) -> None:
        """Adds the batch of the last add(), whose labels these are, to counts by class, both int64 (classes,)."""
        of_batch = *_targets(labels), self._row_correct, self._validity.marks
        classes, rows = len(images), len(labels)
        self._device.launch("count_classes", classes, *of_batch, images, correct, rows, classes)

    @in_turn
    def read(self) -> Totals:
        """The totals so far; waits for the device. Raises ValueError if a batch since the last reading was none."""
        return Totals.of_all(self.sums())

    @in_turn
    def read_finite(self) -> Totals:
        """The same of the batches whose loss is finite alone; without any, the loss is NaN."""
        return Totals.of_finite(self.sums())

    @in_turn
    def sums(self) -> list[float]:
        """What the totals are made of, for restore(), and to be added to other ranks'; waits for the device.

        Raises ValueError as read() does."""
        self._validity.raise_if_marked()
        return [float(value) for value in self._device.to_host(self._totals)]

    @in_turn
    def restore(self, sums: Sequence[float]) -> None:
        """Has the totals be what they were as sums() gave that. Raises ValueError for anything else."""
        if len(sums) != len(self._totals):
            raise ValueError(f"there must be {len(self._totals)} sums, not {len(sums)}")
        self._totals[...] = self._device.to_device(np.array(sums, np.float64))

    @in_turn
    def reset(self) -> None:
        self._totals[...] = 0


def _targets(labels: Labels) -> tuple[Any, Any, Any]:
    """As kernels take them: labels, others, shares; of plain labels the last two are None."""
    return labels.arrays if isinstance(labels, MixedLabels) else (labels, None, None)
