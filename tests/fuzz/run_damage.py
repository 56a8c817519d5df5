"""Kinds of damage to a run's files; each takes a file and does it at random."""

import json
import random
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from helpers.damage import damaged_bytes, nasty, put_instead

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.files import checkpoint

Kind = Callable[[Path, random.Random], None]


def kinds_of(path: Path) -> list[Kind]:
    """What may become of that file, more likely ones several times."""
    found: list[Kind] = [flipped, flipped, put_instead, another]
    if path.suffix == ".safetensors":
        found += [header, header, arrays, metadata, progress, progress]
    elif path.suffix == ".jsonl":
        found += [lines] * 3
    elif path.suffix == ".yaml":
        found += [keys] * 3
    return found


def flipped(path: Path, random: random.Random) -> None:
    path.write_bytes(damaged_bytes(path.read_bytes(), random))


def another(path: Path, random: random.Random) -> None:
    """Another of the run's files."""
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    others = [other for other in sorted(run.rglob("*")) if other.is_file() and not other.is_symlink()]
    path.write_bytes(random.choice(others).read_bytes())


def header(path: Path, random: random.Random) -> None:
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


def arrays(path: Path, random: random.Random) -> None:
    """An array of other numbers, of another type or shape, none at all, or one too many."""
    content, about = _loaded(path)
    if not content:
        return
    name = random.choice(sorted(content))
    array = content[name]
    kind = random.choice(["number", "type", "shape", "gone", "more"])
    if kind == "number" and array.size:
        values = [np.nan, np.inf, -np.inf, 1e38, -1e30, 1e-40, -1.0, 2.0**62]
        with np.errstate(all="ignore"):
            array.flat[random.randrange(array.size)] = np.array(random.choice(values)).astype(array.dtype)
    elif kind == "type":
        with np.errstate(all="ignore"):
            content[name] = array.astype(random.choice(["f8", "f2", "i8", "i1", "u4", "?"]))
    elif kind == "shape":
        shapes = [(1, *array.shape), array.shape[::-1], (array.size,), (1,), (0,), ()]
        shape = random.choice(shapes)
        content[name] = np.resize(array, shape)
    elif kind == "gone":
        del content[name]
    else:
        content[random.choice(["x", f"{name}.weight", "optimizer.velocity", "network.conv9.weight"])] = array
    checkpoint.save(path, content, about)


def metadata(path: Path, random: random.Random) -> None:
    """Something else in the metadata of a checkpoint."""
    content, about = _loaded(path)
    part = about
    while part:
        key = random.choice(sorted(part))
        if not isinstance(part[key], dict) or random.random() < 0.3:
            part[key] = nasty(random)
            break
        part = part[key]
    with suppress(RecursionError):
        checkpoint.save(path, content, about)


def progress(path: Path, random: random.Random) -> None:
    """Another number in what a checkpoint says of how far the run has come."""
    content, about = _loaded(path)
    told = about.get("progress")
    # an earlier damage may have put something else there, or taken a key
    if not isinstance(told, dict) or not told:
        return
    for _ in range(random.choice([1, 1, 2])):
        key = random.choice(["batches", "sums", "seconds", "step", *sorted(told)])
        value = told.get(key)
        near = [0, 1, -1, None, nasty(random)]
        if isinstance(value, list):
            near += [value[:-1], [*value, 0.0], [-number for number in value], [1e300] * len(value), [nasty(random)]]
        elif isinstance(value, (int, float)) and abs(value) < 2**53:
            near += [value + 1, value - 1, value * 2, float(value)]
        told[key] = random.choice(near)
    with suppress(RecursionError):
        checkpoint.save(path, content, about)


def lines(path: Path, random: random.Random) -> None:
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


def keys(path: Path, random: random.Random) -> None:
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
        path.write_bytes(yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode())


def _loaded(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        return checkpoint.load(path)
    except UserError:
        return {}, {}
