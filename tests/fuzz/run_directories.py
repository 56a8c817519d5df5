"""Damaged run directories: `evaluate`, `predict` and `--resume` take them or say in one line what is wrong, and harm
nothing."""

import random
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from helpers.commands import FILES, Outcome, evaluate, run_small, small, timeless, train
from helpers.commands import command as classify
from helpers.damage import content_of, remove
from helpers.datasets_on_disk import write_mnist
from PIL import Image

from fuzz import config_keys, run_damage
from fuzz.configs import NASTY
from fuzz.whole_runs import contents
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.steps.training_step import TrainingStep
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.trainer import Trainer
from ttfs_cupy.trained import predict_command

EPOCHS = 3
# batches of an epoch, each with a checkpoint after it
BATCHES = 4
# more than any training of an undamaged run has left to do
MOST_EPOCHS = 5
LONGEST_SENTENCE = 600
KEPT = re.compile(r"checkpoints(/epoch-\d{4}\.safetensors)?")
# Where one of them is damaged, the other serves
CHECKPOINTS = {"last.safetensors", "previous.safetensors"}
# Damage with a digest that is right, or an earlier checkpoint, as before other settings: nobody can tell
FORGED = (run_damage.arrays, run_damage.metadata, run_damage.progress, run_damage.another)
KEYS = tuple(config_keys.dotted())
# What may well be asked of a run that goes on
ASSIGNMENTS = (
    *("training.epochs=4", "training.epochs=2", "training.patience=1", "training.keep={last: 1}", "training.keep=null"),
    *("training.checkpoint_every={steps: 3}", "training.checkpoint_every=null", "training.label_smoothing=0.2"),
    *("network.psp_slope={from: 0, to: 1}", "network.psp_slope=0.5", "network.clip=none", "network.convolution=gemm"),
    *("optimizer.lr=0.01", "optimizer.clip_norm=1", "optimizer.weight_clip=[-1, 1]", "schedule.name=cosine"),
    *("data.augment=shift_erase", "data.mix=both", "data.class_weights=balanced", "data.root=elsewhere", "threads=2"),
)


class EnoughError(BaseException):
    """Ends a training whose damaged config asks for many epochs."""


@dataclass
class _Done:
    """What a training has got done. written: checkpoints within an epoch."""

    epochs: int = 0
    written: int = 0


@dataclass
class _Damage:
    """What was done to a run: the damaged files' paths in it, and those whose damage nobody can tell."""

    files: set[str] = field(default_factory=set)
    forged: set[str] = field(default_factory=set)

    def leaves_a_checkpoint(self, run: Path) -> bool:
        """Whether the run must go on to its bits: at most one of both checkpoints is damaged, and nothing else."""
        only_these = all(name in CHECKPOINTS or KEPT.fullmatch(name) for name in self.files)
        folders = any((run / name).is_dir() for name in self.files)
        return only_these and not folders and not self.forged and len(self.files & CHECKPOINTS) <= 1


class RunDirectories:
    """Runs that are finished, or stopped after an epoch or within one, also with other settings than they began with;
    an attempt damages a copy of one of them."""

    def __init__(self, folder: Path):
        self._folder = folder
        write_mnist(folder / "data", train=40, test=10, zipped=False)
        self._image = folder / "image.png"
        Image.new("L", (28, 28), 100).save(self._image)
        settings: dict[str, Any] = {
            "data__dataset": "mnist",
            "data__root": str(folder / "data"),
            "network__model": "[2, P]",
            "training__epochs": EPOCHS,
            "training__batch_size": 10,
            "training__checkpoint_every": "{steps: 1}",
            "training__keep": "{last: 2}",
            "training__average": 0.9,
            "threads": 1,
            "tune": False,
        }
        whole = run_small(folder / "finished", **settings)
        # each with the one that was never stopped
        self._runs = [(whole, whole)]
        for name, steps in (("after an epoch", BATCHES), ("within an epoch", BATCHES + 2)):
            _stop_after(steps, *small(folder / name, **settings))
            self._runs.append((folder / name, whole))
        longer = ("--set", f"training.epochs={EPOCHS + 1}", "--set", "optimizer.lr=0.01")
        steered, stopped = folder / "steered", folder / "steered, and stopped"
        for run in (steered, stopped):
            shutil.copytree(whole, run)
        assert train("--resume", steered, *longer).code == 0
        _stop_after(3, "--resume", stopped, *longer)
        self._runs += [(steered, steered), (stopped, steered)]
        self._may_be_there = FILES.union(*(content_of(run) for run, _ in self._runs))

    def attempt(self, random: random.Random) -> str:
        run = self._folder / "run"
        remove(run)
        undamaged, whole = random.choice(self._runs)
        shutil.copytree(undamaged, run)
        damage = _Damage()
        for _ in range(random.choice([1, 1, 1, 2])):
            self._damage(run, damage, random)
        looks = ["evaluate", "evaluate an epoch", "predict", "predict an epoch"]
        command = random.choice([*looks, "resume", "resume", "resume with others"])
        assignments: list[str] = []
        if command == "resume with others":
            assignments = [_assignment(run, random) for _ in range(random.choice([1, 1, 2, 3]))]
        if _is_too_much(run, assignments):
            return "too much"
        about = "checkpoint" if any(name.endswith("s") for name in damage.files) else "metrics or other"
        before, must_go_on = content_of(run), command == "resume" and damage.leaves_a_checkpoint(run)
        with _at_most(MOST_EPOCHS) as done:
            try:
                chosen = ["--epoch", str(random.randint(0, EPOCHS + 1))] if command.endswith("an epoch") else []
                if command.startswith("evaluate"):
                    outcome = evaluate(run, *chosen)
                elif command.startswith("predict"):
                    outcome = classify(predict_command.main, run, self._image, *chosen)
                else:
                    outcome = train("--resume", run, *(part for one in assignments for part in ("--set", one)))
            except EnoughError:
                return f"{about}: trained on"
        told = f"{outcome}\n{damage}\n{command} {assignments}"
        self._judge(outcome, run, before, done, told)
        if must_go_on:
            self._check_bits(outcome, run, whole, told)
            return f"{about}: the same bits"
        return f"{about}: {'refused' if outcome.code else 'taken'}"

    def _damage(self, run: Path, damage: _Damage, random: random.Random) -> None:
        files = sorted(path for path in run.rglob("*") if path.name != "checkpoints")
        path = random.choice([path for path in files for _ in range(1 if path.name == "log.txt" else 4)])
        if not path.is_file() or path.is_symlink():
            return
        name, kind = str(path.relative_to(run)), random.choice(run_damage.kinds_of(path))
        kind(path, random)
        damage.files.add(name)
        if kind in FORGED:
            damage.forged.add(name)

    def _judge(self, outcome: Outcome, run: Path, before: dict[str, bytes | str], done: _Done, told: str) -> None:
        assert outcome.code in (0, 2), told
        assert "Traceback" not in outcome.out + outcome.err, told
        after = content_of(run)
        new = set(after) - self._may_be_there - {"nothing"} - set(before)
        assert all(KEPT.fullmatch(name) for name in new), (told, sorted(new))
        if outcome.code == 0:
            return
        assert outcome.err.startswith("error: ") and outcome.err.endswith("\n") and outcome.err.count("\n") == 1, told
        assert len(outcome.err) <= LONGEST_SENTENCE + 2 * len(str(run)), told
        assert _names_something(outcome.err), told
        if done == _Done():
            # a log says what was tried; the checkpoint at hand may be kept anew
            changed = {name for name in before if after.get(name) != before[name] and not KEPT.fullmatch(name)}
            allowed = {"log.txt"}
            if outcome.out.startswith("changed ") or "\nchanged " in outcome.out:
                allowed |= {"config.yaml", "metrics.jsonl", "metrics.csv"}
            if before.get("metrics.csv") == "no file":
                # a folder, of which is known at the end alone that it is in the way
                allowed.add("metrics.jsonl")
            assert changed <= allowed, (told, changed)

    def _check_bits(self, outcome: Outcome, run: Path, whole: Path, told: str) -> None:
        """Of a run that has gone on: those of one that was never damaged."""
        assert outcome.code == 0, told
        assert timeless(run) == timeless(whole), told
        for name in ("best.safetensors", "last.safetensors"):
            assert contents(run / name) == contents(whole / name), (told, name)


def _names_something(sentence: str) -> bool:
    """A file of the run, the run itself, the data, or a key of the config."""
    keys = {part for key in KEYS for part in key.split(".")}
    return any(name in sentence for name in (*FILES, "/run'", "/run/", "/data/", "--set", "--epoch", *keys))


def _assignment(run: Path, random: random.Random) -> str:
    """What `--set` is given: something sensible, or not."""
    kind = random.random()
    if kind < 0.4:
        return random.choice(ASSIGNMENTS)
    return f"{random.choice(KEYS)}={random.choice(NASTY) if kind < 0.8 else random.choice(ASSIGNMENTS).split('=')[1]}"


@contextmanager
def _at_most(epochs: int) -> Iterator[_Done]:
    """So many epochs of a training; yields what it gets done."""
    done, epoch, within = _Done(), Trainer._epoch, Checkpoints.within_epoch

    def counted(trainer: Trainer) -> None:
        if done.epochs >= epochs:
            raise EnoughError
        epoch(trainer)
        done.epochs += 1

    def noted(checkpoints: Checkpoints, *arguments: Any, **options: Any) -> None:
        done.written += 1
        within(checkpoints, *arguments, **options)

    with mock.patch.object(Trainer, "_epoch", counted), mock.patch.object(Checkpoints, "within_epoch", noted):
        yield done


def _stop_after(steps: int, *arguments: str | Path) -> None:
    """Trains until so many steps are over."""
    real, left = TrainingStep.run, steps

    def counted(step: TrainingStep) -> None:
        nonlocal left
        if not left:
            raise EnoughError
        left -= 1
        real(step)

    with mock.patch.object(TrainingStep, "run", counted), suppress(EnoughError):
        train(*arguments)
    assert not left


def _is_too_much(run: Path, assignments: list[str]) -> bool:
    """A config that asks for what would take long, or for the network: that is another fuzzer's affair."""
    if not (run / "config.yaml").is_file():
        return False
    try:
        config = load_config(run / "config.yaml", assignments)
    except UserError:
        return False
    model = config.network.model
    return (
        config.data.download
        or config.watch.loggers
        or config.tune
        or config.data.dataset != "mnist"
        or not isinstance(model, list)
        or len(model) > 4
        or any(not isinstance(layer, (int, str)) or (isinstance(layer, int) and layer > 9) for layer in model)
    )
