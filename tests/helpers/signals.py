"""Signals, as a fresh process answers them; and such that come while a training step runs."""

import itertools
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from ttfs_cupy.engine.steps.training_step import TrainingStep


@contextmanager
def usual_signals() -> Iterator[None]:
    """In this block signals are answered as in a fresh process, whatever this one does with them.

    What a shell has started in the background ignores SIGINT, for one.
    """
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)


@contextmanager
def raising_in_steps(monkeypatch: pytest.MonkeyPatch, numbers: Mapping[int, signal.Signals]) -> Iterator[None]:
    """In this block the call of that number of TrainingStep.run, from 1, is met by a signal, of the usual ones."""
    calls, real = itertools.count(1), TrainingStep.run

    def met(step: TrainingStep) -> None:
        number = numbers.get(next(calls))
        if number is not None:
            signal.raise_signal(number)
        real(step)

    with usual_signals(), monkeypatch.context() as patch:
        patch.setattr(TrainingStep, "run", met)
        yield
