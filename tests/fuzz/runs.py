"""Starts at once and signals: no two runs in one directory, the bits of a run that was never stopped, and what an
interruption promises.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from helpers.children import Child
from helpers.commands import Outcome, evaluate, train
from helpers.processes import started

from fuzz.kills import killed
from fuzz.whole_runs import SEEDS, Runs
from ttfs_cupy import train as train_command
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.files import checkpoint


class Pairs(Runs):
    """Two commands at once: starts with one output, or with the default one; two that go on with one run, or one that
    does beside a start with its directory as output."""

    def attempt(self, random: random.Random) -> str:
        # two of three are plain starts
        kind = random.choice(["output", "output", "default", "default", "resume", "beside"])
        here = self.fresh()
        seeds = random.sample(range(SEEDS), 2)
        if kind in ("resume", "beside"):
            seeds = [seeds[0]] * 2
            # the first is the config's
            killed(self.start(here / "run", seeds[0]), fsyncs=random.randint(2, 20), folder=here)
        arguments = {
            "output": [self.start(here / "run", seed) for seed in seeds],
            "default": [without_output(self.start(here, seed)) for seed in seeds],
            "resume": [["--resume", str(here / "run")]] * 2,
            "beside": [["--resume", str(here / "run")], self.start(here / "run", seeds[1])],
        }[kind]
        late = [random.choice([0.0, random.uniform(0, 0.003)]) for _ in seeds]
        outcomes = at_once(arguments, late, here)
        assert all("Traceback" not in outcome.err for outcome in outcomes), outcomes
        codes = [outcome.code for outcome in outcomes]
        if kind == "default":
            assert codes == [0, 0], outcomes
            runs = [here / "runs" / name for name in ("quickstart", "quickstart-2")]
            assert sorted(runs[0].parent.iterdir()) == runs
            for run in runs:
                self.check(run, load_config(run / "config.yaml").seed)
            assert {load_config(run / "config.yaml").seed for run in runs} == set(seeds)
            return f"{kind}: two directories"
        if codes == [0, 0]:
            # one began as the other had ended
            assert kind == "resume", outcomes
        else:
            assert sorted(codes) == [0, 2], outcomes
            refusal = outcomes[codes.index(2)].err
            assert refusal.startswith(f"error: '{here / 'run'}' ") and refusal.count("\n") == 1, refusal
            assert "in use by process" in refusal or "already holds a run" in refusal, refusal
            # a start that comes too late is in nobody's way
            assert kind != "beside" or codes[0] == 0, outcomes
        self.check(here / "run", seeds[codes.index(0)])
        return f"{kind}: {'one refused' if 2 in codes else 'one after the other'}"


class Signals(Runs):
    """Two signals within a millisecond, sent to the real command."""

    def attempt(self, random: random.Random) -> str:
        here, seed = self.fresh(), random.randrange(SEEDS)
        run = here / "run"
        process = started([sys.executable, "-m", "ttfs_cupy.train", *self.start(run, seed)])
        try:
            assert process.stdout
            awaited = random.choice(["total", *(f"epoch {epoch}/" for epoch in range(1, 4))])
            before = []
            for line in process.stdout:
                before.append(line)
                if line.startswith(awaited):
                    break
            time.sleep(random.uniform(0, 0.05))
            sent = [random.choice([signal.SIGINT, signal.SIGTERM]) for _ in range(2)]
            process.send_signal(sent[0])
            time.sleep(random.uniform(0, 0.001))
            process.send_signal(sent[1])
            rest, err = process.communicate(timeout=60)
        finally:
            process.kill()
        outcome = Outcome(process.returncode, "".join(before) + rest, err)
        # the one that is handled first may be the one that came second
        assert outcome.code in {128 + number for number in sent} | {0}, (sent, outcome)
        told = any(line.startswith("interrupted: ") for line in outcome.out.splitlines())
        assert outcome.err == ("interrupted\n" if outcome.code and not told else ""), (sent, outcome)
        if outcome.code == 0 or not run.exists():
            # before the first file, or after the last
            assert "interrupted: " not in outcome.out, outcome
            return "too early" if outcome.code else "too late"
        return self._holds(run, seed, outcome)

    def _holds(self, run: Path, seed: int, outcome: Outcome) -> str:
        """Whether what was said is so."""
        (said,) = [line for line in outcome.out.splitlines() if line.startswith("interrupted: ")]
        assert "; go on with: " in said and said.endswith(f" --resume {run}"), said
        checkpoint.load(run / "last.safetensors")
        has_best = (run / "best.safetensors").exists()
        assert ("there are no best weights yet" in said) == (not has_best), (said, has_best)
        evaluated = evaluate(run)
        if has_best:
            _, metadata = checkpoint.load(run / "best.safetensors")
            assert metadata["epoch"] >= 3 and metadata["psp_slope"] == 1, metadata
            assert f"of epoch {metadata['epoch']}, are in {run / 'best.safetensors'};" in said, said
            assert evaluated.code == 0, evaluated
        else:
            assert evaluated.code == 2 and "has no best weights yet: psp_slope moves until epoch 3" in evaluated.err
        resumed = train("--resume", run)
        assert (resumed.code, resumed.err) == (0, ""), resumed
        self.check(run, seed)
        return "interrupted with best weights" if has_best else "interrupted without"


def without_output(arguments: Sequence[str]) -> list[str]:
    place = arguments.index("--output")
    return [*arguments[:place], *arguments[place + 2 :]]


def at_once(commands: Sequence[Sequence[str]], late: Sequence[float], here: Path) -> list[Outcome]:
    """Starts all of them at one moment, in the folder `here`, each a little late."""
    reading, writing = os.pipe()

    def start(arguments: Sequence[str], delay: float) -> Callable[[], int]:
        def work() -> int:
            os.close(writing)
            os.chdir(here)
            # returns as the other end is closed
            os.read(reading, 1)
            time.sleep(delay)
            return train_command.main(list(arguments))

        return work

    children = [
        Child(start(arguments, delay), here / f"said-{number}")
        for number, (arguments, delay) in enumerate(zip(commands, late, strict=True))
    ]
    os.close(reading)
    os.close(writing)
    return [child.wait() for child in children]
