"""What a logger is told of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class RunReport:
    """As a run begins, or goes on. config: all its keys, in sections; epochs: how many are done already."""

    name: str
    config: Mapping[str, Any]
    epochs: int


@dataclass(frozen=True)
class EpochReport:
    """values: by names such as loss/training. spike_times: how many spikes each layer had in equal shares of the window
    [0, window], over the validation images: int64 (bins,)."""

    number: int
    values: Mapping[str, float]
    spike_times: Mapping[str, np.ndarray]
    window: float

    def edges(self, counts: np.ndarray) -> np.ndarray:
        """Of the bins of such counts: (bins + 1,)."""
        return np.linspace(0, self.window, len(counts) + 1)


class Logger(Protocol):
    """It is told of a run in this order, and may raise any exception: then it is told no more but the end."""

    def begin(self, run: RunReport) -> None:
        """Opens what it writes to."""

    def epoch(self, epoch: EpochReport) -> None:
        """An epoch is done. A run that goes on may tell of it once more, if it ended before that was on disk."""

    def end(self, test: Mapping[str, float] | None) -> None:
        """Closes it. test: values of the test set, such as accuracy/test; None if the run ends before its last epoch.
        Comes also where `begin` failed."""
