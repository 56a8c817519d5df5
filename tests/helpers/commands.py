"""Runs the commands inside this process, which spares each test the seconds that an interpreter takes to start."""

import contextlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from reference.comparison import DEVICE

from ttfs_cupy import convert as convert_command
from ttfs_cupy import evaluate as evaluate_command
from ttfs_cupy import preview as preview_command
from ttfs_cupy import train as train_command
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.sweep import command as sweep_command

TIMES = ("seconds", "images_per_second")
# a fraction of a second: the digits in eleven steps an epoch, two small layers, slope 1, and nothing that recipes add
SMALL = {
    "network.normalization": "none",
    "data.augment": "none",
    "training.average": "null",
    "network.model": "[8, P, 16, P]",
    "network.psp_slope": "1",
    "training.epochs": "2",
    "training.batch_size": "128",
    "optimizer.lr": "0.003",
}

STEPS = 11  # of a small run's epoch
# of a run's directory
FILES = {
    *("config.yaml", "split.json", "metrics.jsonl", "metrics.csv", "log.txt"),
    *("best.safetensors", "last.safetensors", "previous.safetensors"),
}


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


def train(*arguments: str | Path) -> Outcome:
    return _run(train_command.main, arguments)


def evaluate(*arguments: str | Path) -> Outcome:
    return _run(evaluate_command.main, arguments)


def convert(*arguments: str | Path) -> Outcome:
    return _run(convert_command.main, arguments)


def preview(*arguments: str | Path) -> Outcome:
    return _run(preview_command.main, arguments)


def command(main: Callable[[Sequence[str]], int], *arguments: str | Path) -> Outcome:
    """Any other command, by its main()."""
    return _run(main, arguments)


def sweep(*arguments: str | Path) -> Outcome:
    """In this process; its runs have processes of their own."""
    return _run(sweep_command.main, arguments)


def small(output: Path, **changes: Any) -> list[str]:
    """The arguments of a small run into `output`. changes: keys of the config, `__` for the dot, and their values."""
    values = {**SMALL, **{key.replace("__", "."): yaml_text(value) for key, value in changes.items()}}
    settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    return ["quickstart", "--output", str(output), "--device", DEVICE, *settings]


def run_small(output: Path, **changes: Any) -> Path:
    """A small run that must succeed; its directory."""
    outcome = train(*small(output, **changes))
    assert (outcome.code, outcome.err) == (0, "")
    return output


class PowerCutError(BaseException):
    """Stands for whatever ends a process at once."""


def cut_short(monkeypatch: pytest.MonkeyPatch, call: int, *arguments: str | Path) -> None:
    """Trains with these arguments until the training step is to run for the call-th time, when all ends at once."""
    calls, real = itertools.count(1), TrainingStep.run

    def cut(self: TrainingStep) -> None:
        if next(calls) == call:
            raise PowerCutError
        real(self)

    with monkeypatch.context() as patch, pytest.raises(PowerCutError):
        patch.setattr(TrainingStep, "run", cut)
        train(*arguments)


def resumes_to(whole: Path, broken: Path) -> None:
    """Goes on with a run that was broken off: it must end as the whole one did, bit for bit."""
    outcome = train("--resume", broken)
    assert (outcome.code, outcome.err) == (0, "")
    assert timeless(broken) == timeless(whole)
    for name in ("best.safetensors", "last.safetensors"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def timeless(run: Path) -> list[dict[str, Any]]:
    """The metrics but for what may differ between two runs of the same bits."""
    return [{key: value for key, value in line.items() if key not in (*TIMES, "device")} for line in metrics(run)]


def weights(run: Path, name: str = "best") -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(run / f"{name}.safetensors")


def yaml_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _run(main: Callable[[Sequence[str]], int], arguments: Sequence[str | Path]) -> Outcome:
    with _captured() as (out, err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ended:  # argparse's way
            assert isinstance(ended.code, int)
            code = ended.code
    return Outcome(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err
