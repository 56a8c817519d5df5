"""A training step beside the same network in PyTorch, T2FSNN's way and as an ordinary one, by `ttfs_cupy.bench`.

PyTorch's TF32 is as PyTorch has it by default: cuDNN's convolutions may use it.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfs_cupy.benchmarks.comparison import command
from ttfs_cupy.benchmarks.comparison.sides import OURS
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.convolution.tuner import TuningCache
from ttfs_cupy.device import Device, get_device

# Network and batch size, most wanted first; rounds.
TASKS = {
    "cuda": (("vgg11", 128), ("vgg7", 128), ("vgg11", 512), ("vgg7", 512)),
    "cpu": (("vgg7", 2),),
}
ROUNDS = {"cuda": 5, "cpu": 1}


@dataclass(frozen=True)
class Speed:
    """A side's training step. ratio: its time to the engine's. problem: why there are no numbers."""

    network: str
    batch_size: int
    side: str
    variant: str
    milliseconds: float | None
    fastest: float | None
    slowest: float | None
    images_per_second: float | None
    gflops: float | None
    ratio: float | None
    problem: str


@dataclass(frozen=True)
class Tuned:
    """What the tuner chose on this device: the algorithm of each pass. layer: as its cache names it."""

    layer: str
    passes: dict[str, str]


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    trouble = tools.torch_trouble(device)
    if trouble:
        notes.found(f"{trouble}: the engine is timed alone")
    for network, batch_size in TASKS[device.target]:
        if notes.left < 5:
            notes.attention(f"out of time before {network} {batch_size}")
            break
        compare(notes, device, network, batch_size, alone=trouble is not None)
    for choice in tuned(device):
        notes.record(choice)
        notes.say(f"{choice.layer}: {choice.passes}")


def compare(notes: Notes, device: Device, network: str, batch_size: int, *, alone: bool) -> None:
    """alone: without PyTorch's sides."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.json"
        arguments = ["--device", device.name, "--networks", network, "--batch-size", str(batch_size), "--work", "step"]
        arguments += ["--rounds", str(ROUNDS[device.target]), "--json", str(file), *(["--against", "none"] * alone)]
        # whoever else uses the CPU makes threads that wait for each other slow
        arguments += ["--threads", "1"] if device.target == "cpu" else []
        code = command.main(arguments)
        if code:
            return notes.attention(f"{network} {batch_size}: ttfs_cupy.bench ended with exit code {code}")
        rows = json.loads(file.read_text())["results"]
    for row in rows:
        notes.record(Speed(**{field: row[field] for field in Speed.__dataclass_fields__}))
    text = f"{network} {batch_size}, a step: {', '.join(map(_side, rows))}"
    # of a few images on a CPU the times say nothing
    slower = device.gpu is not None and any((row["ratio"] or 1) < 1 for row in rows)
    return (notes.attention if slower else notes.found)(text)


def _side(row: dict[str, Any]) -> str:
    if row["milliseconds"] is None:
        return f"{row['side']}: {row['problem']}"
    beside = "" if row["side"] == OURS else f" ({row['ratio']:.2f} times as long)"
    return f"{row['side']} {row['milliseconds']:.2f} ms{beside}"


def tuned(device: Device) -> list[Tuned]:
    """All that was ever tuned on a device like this one, by this user."""
    choices = TuningCache().all()
    return [Tuned(layer, passes) for layer, passes in choices.items() if layer.startswith(device.description)]
