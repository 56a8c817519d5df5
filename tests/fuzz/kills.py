"""SIGKILLs at any moment of a run: it goes on to the bits of one that was never stopped."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.children import Child, training
from helpers.commands import Outcome

from fuzz.whole_runs import Runs
from ttfs_cupy import train as train_command
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.engine.steps.training_step import TrainingStep

# Calls, by whose number a kill is timed: up to so many, about two epochs' worth
CALLS: dict[str, tuple[Any, str, int]] = {
    "fsync": (os, "fsync", 10),
    "rename": (os, "replace", 14),
    "link": (os, "link", 6),
    "unlink": (os, "unlink", 16),
    "step": (TrainingStep, "run", 22),
    "validation": (Evaluator, "run", 8),
}
# Within the call: a file that is written by half
HALF = "half-written file"
# At any moment, from the start on: within these seconds, and so many epochs more
MOMENTS = {"start": (0.12, 0.0), "any moment": (0.15, 2.0)}


class Kills(Runs):
    """A few, of many short runs."""

    def attempt(self, random: random.Random) -> str:
        here, seed = self.fresh(), random.randrange(len(self.whole))
        run, kills = here / "run", 0
        for _ in range(random.randint(1, 3)):
            _, was_killed = self.killed_somewhere(run, seed, random)
            kills += was_killed
        self.finish(run, seed, here)
        return f"{kills} kills"

    def killed_somewhere(self, run: Path, seed: int, random: random.Random) -> tuple[str, bool]:
        """Trains, and kills it; returns what for a moment that was to be, and False where it was over before."""
        arguments, said = self.next_command(run, seed), run.parent / "said"
        kind = random.choice([*CALLS, HALF, *MOMENTS])
        if kind in MOMENTS:
            seconds, epochs = MOMENTS[kind]
            child = training(*arguments, folder=said)
            time.sleep(random.uniform(0, seconds + epochs * self.epoch_seconds))
            child.kill()
            outcome = child.wait()
        else:
            owner, name, most = CALLS["fsync" if kind == HALF else kind]
            number, after = random.randint(1, most), kind != HALF and random.random() < 0.5
            cut = random.random() if kind == HALF else None
            outcome = _killed_in(arguments, owner, name, number, said, after=after, cut=cut)
        assert outcome.code in (0, -signal.SIGKILL) and outcome.err == "", outcome
        return kind, outcome.code != 0

    def finish(self, run: Path, seed: int, folder: Path) -> None:
        outcome = training(*self.next_command(run, seed), folder=folder / "said").wait()
        assert (outcome.code, outcome.err) == (0, ""), outcome
        self.check(run, seed, previous=True)


class Survival(Kills):
    """Many, of one run that is long enough for them."""

    def __init__(self, folder: Path, kills: int = 100):
        super().__init__(folder, seeds=1, training__epochs=2 * kills + 8)
        self._kills = kills

    def attempt(self, random: random.Random) -> str:
        here = self.fresh()
        run, kinds = here / "run", Counter[str]()
        while kinds.total() < self._kills:
            kind, was_killed = self.killed_somewhere(run, 0, random)
            assert was_killed, f"the run was over after {kinds.total()} kills"
            kinds[kind] += 1
        self.finish(run, 0, here)
        return f"{self._kills} kills: {', '.join(f'{number} x {kind}' for kind, number in sorted(kinds.items()))}"


def killed(arguments: Sequence[str], *, fsyncs: int, folder: Path) -> Outcome:
    """Trains, and is killed as it would write its file of that number."""
    return _killed_in(arguments, os, "fsync", fsyncs, folder / "said")


def _killed_in(
    arguments: Sequence[str],
    owner: Any,
    name: str,
    number: int,
    folder: Path,
    *,
    after: bool = False,
    cut: float | None = None,
) -> Outcome:
    """Killed before or after that call. cut: the share that is left of the file whose descriptor the call is given."""

    def work() -> int:
        real: Callable[..., Any] = getattr(owner, name)
        left = number

        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            try:
                return real(*arguments, **options) if left or after else None
            finally:
                # also where the call fails
                if not left:
                    if cut is not None:
                        os.ftruncate(arguments[0], int(cut * os.fstat(arguments[0]).st_size))
                    os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, counted)
        return train_command.main(list(arguments))

    return Child(work, folder).wait()
