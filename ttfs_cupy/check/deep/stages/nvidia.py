"""NVIDIA's tools, where they are installed: the three hot kernels in ncu; memcheck, racecheck and synccheck."""

import csv
import io
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.device import Device, get_device

HOT_KERNELS = ("tensorcore_forward", "tensorcore_data_gradient", "tensorcore_weight_gradient")
SANITIZERS = ("memcheck", "synccheck", "racecheck")
FOUND_ERRORS = 9

# Characters of a tool's text that are kept.
MOST_OF_NCU, MOST_OF_SANITIZER = 100_000, 20_000

# What the summary says of a kernel.
HEADLINES = {
    "Duration": "",
    "Compute (SM) Throughput": "SM",
    "Memory Throughput": "memory",
    "Achieved Occupancy": "occupancy",
    "Registers Per Thread": "registers",
}
_VERDICT = re.compile(r"(?:ERROR|RACECHECK) SUMMARY: (\d+) .*")


@dataclass(frozen=True)
class Counter:
    """What ncu says of a kernel."""

    kernel: str
    section: str
    metric: str
    unit: str
    value: str


@dataclass(frozen=True)
class Sanitized:
    """verdict: the tool's last line, empty if it did not come that far. lines: that the target printed."""

    tool: str
    verdict: str
    code: int | None
    lines: int


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    if device.gpu is None:
        for what in ("hot", "shapes"):
            ended = tools.run(target(what, device), notes.left - 1)
            notes.say(ended.short(2000))
            if ended.code != 0:
                return notes.attention(f"what NVIDIA's tools would watch ({what}) {ended.ending}")
        return notes.found("a CPU has no use for NVIDIA's tools; what they would watch runs")
    if not device.gpu.has_tensor_cores:
        notes.found(f"{device.name} has none of {', '.join(HOT_KERNELS)} to profile")
    elif tools.find("ncu") is None:
        notes.found("ncu is not installed: no kernel is profiled")
    else:
        profile(notes, device, min(60, notes.left / 2))
    if tools.find("compute-sanitizer") is None:
        return notes.found(f"compute-sanitizer is not installed: no {', '.join(SANITIZERS)}")
    for number, tool in enumerate(SANITIZERS):
        sanitize(notes, device, tool, (notes.left - 2) / (len(SANITIZERS) - number))
    return None


def target(what: str, device: Device) -> list[str]:
    return [sys.executable, "-m", "ttfs_cupy.check.deep.stages.targets", what, device.name]


def profile(notes: Notes, device: Device, seconds: float) -> None:
    """A full profile of each hot kernel: the text beside the report, every counter among the figures."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile.ncu-rep"
        # the clocks as in training; the first of each kernel warms up
        options = ["--set", "full", "--clock-control", "none", "-k", f"regex:^({'|'.join(HOT_KERNELS)})$"]
        options += ["--launch-skip", str(len(HOT_KERNELS)), "--launch-count", str(len(HOT_KERNELS)), "-o", str(file)]
        ended = tools.run(["ncu", *options, *target("hot", device)], seconds)
        notes.say(ended.short(2000))
        if not file.exists():
            return _no_profile(notes, ended)
        read = ["ncu", "--import", str(file), "--page", "details"]
        text, table = tools.run(read, 20), tools.run([*read, "--csv"], 20)
    (notes.folder / "ncu.txt").write_text(text.short(MOST_OF_NCU))
    found = counters(table.text)
    for counter in found:
        notes.record(counter)
    for line in headlines(found):
        notes.found(line)
    if not found:
        notes.attention("ncu profiled no kernel: see ncu.txt")
    return None


def _no_profile(notes: Notes, ended: tools.Output) -> None:
    if "ERR_NVGPUCTRPERM" in ended.text:
        return notes.found("ncu may not read the GPU's counters here (ERR_NVGPUCTRPERM): no kernel is profiled")
    return notes.attention(f"ncu profiled nothing, and {ended.ending}")


def counters(table: str) -> list[Counter]:
    """From ncu's page of details, as CSV; the program's own output may come before it."""
    start = table.find('"ID"')
    rows = csv.DictReader(io.StringIO(table[start:] if start >= 0 else ""))
    return [
        Counter(_short(row["Kernel Name"]), row["Section Name"], row["Metric Name"], row["Metric Unit"], value)
        for row in rows
        if (value := row.get("Metric Value") or "")
    ]


def headlines(found: Sequence[Counter]) -> list[str]:
    """A line for each kernel."""
    lines = []
    for kernel in dict.fromkeys(counter.kernel for counter in found):
        of_it = {counter.metric: counter for counter in reversed(found) if counter.kernel == kernel}
        parts = [
            f"{label} {of_it[metric].value} {of_it[metric].unit}".strip()
            for metric, label in HEADLINES.items()
            if metric in of_it
        ]
        lines.append(f"{kernel}: {', '.join(parts)}")
    return lines


def _short(kernel: str) -> str:
    return kernel.partition("(")[0].strip()


def sanitize(notes: Notes, device: Device, which: str, seconds: float) -> None:
    options = ["--tool", which, "--print-limit", "8", "--error-exitcode", str(FOUND_ERRORS)]
    ended = tools.run(["compute-sanitizer", *options, *target("shapes", device)], seconds)
    with (notes.folder / "sanitizer.txt").open("a") as file:
        file.write(f"##### {which}\n{ended.short(MOST_OF_SANITIZER)}\n")
    verdicts = [match for line in ended.text.splitlines() if (match := _VERDICT.search(line))]
    own = [line for line in ended.text.splitlines() if not line.startswith("=====")]
    verdict = verdicts[-1][0] if verdicts else ""
    notes.record(Sanitized(which, verdict, ended.code, len(own)))
    if ended.code is None:
        last = own[-1] if own else "nothing"
        return notes.attention(f"{which}: killed after {seconds:.0f} s, {len(verdicts)} verdicts, at: {last}")
    if ended.code or not verdicts or int(verdicts[-1][1]):
        return notes.attention(f"{which}: {verdict or 'no verdict'}, exit code {ended.code}: see sanitizer.txt")
    return notes.found(f"{which}: {verdict}")
