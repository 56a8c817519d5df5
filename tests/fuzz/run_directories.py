"""Damaged run directories: `evaluate` and `--resume` take them or say in one line what is wrong, and harm nothing."""

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from helpers.commands import FILES, Outcome, evaluate, run_small, small, train
from helpers.damage import content_of, damaged_bytes, nasty, put_instead, remove
from helpers.datasets_on_disk import write_mnist
from pydantic import BaseModel

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.trainer import Trainer

EPOCHS = 3
# more than any training of an undamaged run has left to do
MOST_EPOCHS = 5
LONGEST_SENTENCE = 600


class EnoughError(BaseException):
    """Ends a training whose damaged config asks for many epochs."""


class RunDirectories:
    """A run that is finished and one that stopped after an epoch; an attempt damages a copy of one of them."""

    def __init__(self, folder: Path):
        self._folder = folder
        write_mnist(folder / "data", train=40, test=10, zipped=False)
        settings: dict[str, Any] = {
            "data__dataset": "mnist",
            "data__root": str(folder / "data"),
            "network__model": "[2, P]",
            "training__epochs": EPOCHS,
            "training__batch_size": 10,
            "threads": 1,
            "tune": False,
        }
        self._runs = [run_small(folder / "finished", **settings)]
        with _at_most(1), suppress(EnoughError):
            train(*small(folder / "stopped", **settings))
        self._runs.append(folder / "stopped")

    def attempt(self, random: random.Random) -> str:
        run = self._folder / "run"
        remove(run)
        shutil.copytree(random.choice(self._runs), run)
        damaged = {self._damage(run, random) for _ in range(random.choice([1, 1, 1, 2]))}
        if _is_too_much(run):
            return "too much"
        before = content_of(run)
        command = random.choice([evaluate, lambda path: train("--resume", path)])
        with _at_most(MOST_EPOCHS) as done:
            try:
                outcome = command(run)
            except EnoughError:
                return "trained on"
        self._judge(outcome, run, before, damaged, done[0])
        return "refused" if outcome.code else "taken"

    def _damage(self, run: Path, random: random.Random) -> str:
        path = run / random.choice(sorted(FILES - {"log.txt"}) * 4 + ["log.txt"])
        if not path.is_file() or path.is_symlink():
            return path.name
        kinds: list[Callable[[Path, random.Random], None]] = [_bytes, _bytes, put_instead, _another]
        if path.suffix == ".safetensors":
            kinds += [_header, _header, _arrays, _metadata, _metadata]
        elif path.suffix == ".jsonl":
            kinds += [_lines] * 3
        elif path.suffix == ".yaml":
            kinds += [_keys] * 3
        random.choice(kinds)(path, random)
        return path.name

    def _judge(
        self, outcome: Outcome, run: Path, before: dict[str, bytes | str], damaged: set[str], epochs: int
    ) -> None:
        told = (outcome, sorted(damaged))
        assert outcome.code in (0, 2), told
        assert "Traceback" not in outcome.out + outcome.err, told
        after = content_of(run)
        assert set(after) <= FILES | {"nothing"} | set(before), (told, sorted(after))
        if outcome.code == 0:
            return
        assert outcome.err.startswith("error: ") and outcome.err.endswith("\n") and outcome.err.count("\n") == 1, told
        assert len(outcome.err) <= LONGEST_SENTENCE + 2 * len(str(run)), told
        assert _names_something(outcome.err), told
        if not epochs:
            # a log says what was tried
            for name in set(before) - {"log.txt"}:
                assert after.get(name) == before[name], (told, name)


def _names_something(sentence: str) -> bool:
    """A file of the run, the run itself, the data, or a key of the config."""
    return any(name in sentence for name in (*FILES, "/run'", "/data/", *_KEYS))


def _keys_of(section: type[BaseModel]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys_of(field.annotation)


_KEYS = tuple(_keys_of(Config))


@contextmanager
def _at_most(epochs: int) -> Iterator[list[int]]:
    """So many epochs of a training; yields a list of how many there were."""
    real, done = Trainer._epoch, [0]

    def counted(trainer: Trainer) -> None:
        if done[0] >= epochs:
            raise EnoughError
        real(trainer)
        done[0] += 1

    with mock.patch.object(Trainer, "_epoch", counted):
        yield done


def _is_too_much(run: Path) -> bool:
    """A config that asks for what would take long, or for the network: that is another fuzzer's affair."""
    if not (run / "config.yaml").is_file():
        return False
    try:
        config = load_config(run / "config.yaml")
    except UserError:
        return False
    model = config.network.model
    return (
        config.data.download
        or config.tune
        or config.data.dataset != "mnist"
        or not isinstance(model, list)
        or len(model) > 4
        or any(not isinstance(layer, (int, str)) or (isinstance(layer, int) and layer > 9) for layer in model)
    )


# Kinds of damage


def _bytes(path: Path, random: random.Random) -> None:
    path.write_bytes(damaged_bytes(path.read_bytes(), random))


def _another(path: Path, random: random.Random) -> None:
    """Another of the run's files."""
    other = path.with_name(random.choice(sorted(FILES)))
    if other.is_file():
        path.write_bytes(other.read_bytes())


def _header(path: Path, random: random.Random) -> None:
    """Something else in the header of a safetensors file."""
    content = path.read_bytes()
    try:
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        entry = header[random.choice(sorted(header))]
        key = random.choice(sorted(entry))
        types = ["F64", "F32", "F16", "BF16", "F8_E4M3", "F4", "I8", "I64", "BOOL", "C64", "F6_E2M3"]
        entry[key] = random.choice([nasty(random), random.choice(types), [0, 8], str(nasty(random))])
        text = json.dumps(header).encode()
    except (ValueError, TypeError, KeyError, IndexError, struct.error, RecursionError):
        return
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def _arrays(path: Path, random: random.Random) -> None:
    """An array of other numbers, of another type or shape, none at all, or one too many."""
    arrays, metadata = _loaded(path)
    if not arrays:
        return
    name = random.choice(sorted(arrays))
    array = arrays[name]
    kind = random.choice(["number", "type", "shape", "gone", "more"])
    if kind == "number" and array.size:
        values = [np.nan, np.inf, -np.inf, 1e38, -1e30, 1e-40, -1.0, 2.0**62]
        with np.errstate(all="ignore"):
            array.flat[random.randrange(array.size)] = np.array(random.choice(values)).astype(array.dtype)
    elif kind == "type":
        with np.errstate(all="ignore"):
            arrays[name] = array.astype(random.choice(["f8", "f2", "i8", "i1", "u4", "?"]))
    elif kind == "shape":
        shapes = [(1, *array.shape), array.shape[::-1], (array.size,), (1,), (0,), ()]
        shape = random.choice(shapes)
        arrays[name] = np.resize(array, shape)
    elif kind == "gone":
        del arrays[name]
    else:
        arrays[random.choice(["x", f"{name}.weight", "optimizer.velocity", "network.conv9.weight"])] = array
    checkpoint.save(path, arrays, metadata)


def _metadata(path: Path, random: random.Random) -> None:
    """Something else in the metadata of a checkpoint."""
    arrays, metadata = _loaded(path)
    part = metadata
    while part:
        key = random.choice(sorted(part))
        if not isinstance(part[key], dict) or random.random() < 0.3:
            part[key] = nasty(random)
            break
        part = part[key]
    with suppress(RecursionError):
        checkpoint.save(path, arrays, metadata)


def _loaded(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        return checkpoint.load(path)
    except UserError:
        return {}, {}


def _lines(path: Path, random: random.Random) -> None:
    """Something else in a line of metrics.jsonl."""
    lines = path.read_bytes().split(b"\n")
    number = random.randrange(len(lines))
    try:
        line = json.loads(lines[number])
        line[random.choice(sorted(line))] = nasty(random)
        lines[number] = json.dumps(random.choice([line, line, nasty(random)])).encode()
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        lines[number] = random.choice([b"7", b"[]", b"null", b"[" * 9000, b"{" * 9000, b"\xff", b"1" * 5000, b'"x"'])
    path.write_bytes(b"\n".join(lines))


def _keys(path: Path, random: random.Random) -> None:
    """Something else in a key of config.yaml."""
    try:
        content = yaml.safe_load(path.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError):
        return
    part = content
    while isinstance(part, dict) and part:
        key = random.choice(sorted(part, key=str))
        if isinstance(part[key], dict) and random.random() < 0.8:
            part = part[key]
        else:
            kind = random.choice(["value", "value", "gone", "more"])
            if kind == "gone":
                del part[key]
            else:
                part[key if kind == "value" else "more"] = nasty(random)
            break
    with suppress(RecursionError):
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
