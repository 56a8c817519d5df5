"""Accuracy by class."""

from dataclasses import dataclass

import numpy as np

from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.validity import Labels
from ttfs_cupy.ranks.group import ALONE, Group

# Classes whose sizes differ by less than that factor have accuracies whose mean says nothing new.
UNEVEN = 1.5


@dataclass(frozen=True)
class ClassTotals:
    """By class, in their order: how many images there were, and of how many the prediction was right."""

    images: tuple[int, ...]
    correct: tuple[int, ...]

    @property
    def accuracies(self) -> list[float | None]:
        """None for a class without images."""
        return [right / images if images else None for right, images in zip(self.correct, self.images, strict=True)]

    @property
    def balanced_accuracy(self) -> float:
        """The mean accuracy of the classes that have images; 0 without any."""
        known = [accuracy for accuracy in self.accuracies if accuracy is not None]
        return sum(known) / len(known) if known else 0.0

    @property
    def least(self) -> int:
        """The class with the lowest accuracy, the first of them; of those that have images."""
        return min(
            (k for k, images in enumerate(self.images) if images), key=lambda k: self.correct[k] / self.images[k]
        )

    @property
    def are_uneven(self) -> bool:
        """Whether the largest class has UNEVEN times the images of the smallest one that has any."""
        some = [images for images in self.images if images]
        return bool(some) and max(some) >= UNEVEN * min(some)


class ClassCounts:
    """Images and right predictions of each class, since the last reset; counted on the device."""

    def __init__(self, network: Network):
        self._network = network
        with network.device.current():
            self._images, self._correct = (network.device.xp.zeros(network.classes, np.int64) for _ in range(2))

    def reset(self) -> None:
        self._images[...] = 0
        self._correct[...] = 0

    def add(self, labels: Labels) -> None:
        """Takes in the batch that `network.loss` has been given last. Launches only."""
        self._network.loss.count_classes(labels, self._images, self._correct)

    def read(self, group: Group = ALONE) -> ClassTotals:
        """Of all ranks of a group together. Waits for the device."""
        own = np.stack([self._network.device.to_host(counts) for counts in (self._images, self._correct)])
        images, correct = group.sum(own).tolist()
        return ClassTotals(tuple(images), tuple(correct))
