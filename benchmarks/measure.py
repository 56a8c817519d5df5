"""Sides that take turns in one process, so that whatever else the machine does meets them alike."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ttfs_cupy.benchmarks.workload import Task

# Seconds per call of a function that is called so many times in a row, all of them finished.
Clock = Callable[[Callable[[], object], int], float]

# Seconds between two sides' turns: the threads of the one that has finished still spin for a while.
PAUSE = 0.02

# One step after the other, on a GPU, are launched while the ones before still run, as in training; a CPU has no queue.
STEPS_PER_TURN = {"cpu": 1, "cuda": 20}


@dataclass(frozen=True)
class Running:
    """A side with its network and its batch in place. step: starts the work, which the clock waits for."""

    step: Callable[[], object]
    clock: Clock


@dataclass(frozen=True)
class Side:
    """A side before a task. variant: one of several ways to run it, of which the fastest counts.

    explain: a sentence for an error that rules this side out and leaves the others alone, else None.
    """

    name: str
    variant: str
    build: Callable[[Task], Running]
    warm_ups: int = 1
    explain: Callable[[Exception], str | None] = lambda error: None

    @property
    def label(self) -> str:
        return f"{self.name} {self.variant}".strip()


@dataclass
class Measured:
    """Seconds per step, round by round, of each side's label; and why others are missing."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def compare(task: Task, sides: Sequence[Side], rounds: int, steps_per_turn: int) -> Measured:
    """Each side warms up; then they take turns."""
    measured = Measured()
    running: dict[str, Running] = {}
    for side in sides:
        try:
            running[side.label] = warmed_up(side, task)
        except Exception as error:
            sentence = side.explain(error)
            if sentence is None:
                raise
            measured.failures[side.label] = sentence
    labels = list(running)
    measured.seconds.update({label: [] for label in labels})
    for number in turns(len(labels), rounds):
        one = running[labels[number]]
        measured.seconds[labels[number]].append(one.clock(one.step, steps_per_turn))
    return measured


def turns(sides: int, rounds: int) -> Iterator[int]:
    """Whose turn it is of so many sides: after a pause, each once a round. Who goes first changes every round."""
    for number in range(rounds):
        for side in range(sides) if number % 2 == 0 else reversed(range(sides)):
            time.sleep(PAUSE)
            yield side


def warmed_up(side: Side, task: Task) -> Running:
    running = side.build(task)
    running.clock(running.step, side.warm_ups)
    return running


def clock_between(wait: Callable[[], object]) -> Clock:
    """Times what lies between two waits for the device."""

    def seconds(step: Callable[[], object], times: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(times):
            step()
        wait()
        return (time.perf_counter() - start) / times

    return seconds


def best_of(clock: Clock, work: Callable[[], object], times: int = 5) -> float:
    """The shortest of several, after one that warms up, in seconds."""
    return min(clock(work, 1) for _ in range(1 + times))


def median(seconds: Sequence[float]) -> float:
    return statistics.median(seconds)
