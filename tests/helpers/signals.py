"""Signals that come while a training step runs."""

import itertools
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ttfs_cupy.engine.steps.training_step import TrainingStep


@contextmanager
def raising_in_steps(monkeypatch: pytest.MonkeyPatch, numbers: Mapping[int, signal.Signals]) -> Iterator[None]:
    """In this block the call of that number of TrainingStep.run, from 1, is met by a signal.

    Signals are answered as in a fresh process, whatever this one does with them.
    """
    calls, real = itertools.count(1), TrainingStep.run
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def met(step: TrainingStep) -> None:
        number = numbers.get(next(calls))
        if number is not None:
            signal.raise_signal(number)
        real(step)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(TrainingStep, "run", met)
            yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)
