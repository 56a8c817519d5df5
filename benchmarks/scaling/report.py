"""Every network and global batch that a command line asks for, on the ranks at hand; rank 0 prints and writes."""

import argparse
import dataclasses
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ttfs_cupy.benchmarks import machine, measure, options
from ttfs_cupy.benchmarks.scaling import results
from ttfs_cupy.benchmarks.scaling.exchanges import DelayedWire
from ttfs_cupy.benchmarks.scaling.ranks import WHOLE, Rank, in_lockstep, whole_batch
from ttfs_cupy.benchmarks.scaling_model.tables import table
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.experiment.wiring import connected
from ttfs_cupy.ranks.devices import get_device_of_rank
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.wires.interface import Wire


class ScalingReport:
    """All ranks make one, and measure together."""

    def __init__(self, parsed: argparse.Namespace, group: Group):
        self.parsed, self.group = parsed, group
        if group.rank == 0:
            options.check_files(parsed.json, None)
        asked = ("networks", "batch_size", "psp_slope", "precision", "rounds", "wire_delay")
        group.require_same({f"--{name.replace('_', '-')}": getattr(parsed, name) for name in asked})
        self.tasks = [
            Task(WORKLOADS[network], batch_size, "step", parsed.psp_slope, parsed.precision)
            for network in dict.fromkeys(parsed.networks)
            for batch_size in dict.fromkeys(parsed.batch_size)
        ]
        if smallest := next((task for task in self.tasks if task.batch_size < group.size), None):
            raise UserError(
                f"a global batch of {smallest.batch_size} images is too small for {group.size} ranks, each of which "
                "needs one: use a larger --batch-size, or fewer ranks"
            )
        self.device, self.reason = get_device_of_rank(group, parsed.device, parsed.threads)
        if parsed.wire_delay and self.device.streams is not None:
            raise UserError("--wire-delay is for ranks on CPUs: leave it out, or use --device cpu")

    def conclude(self) -> None:
        """All of it."""
        found = machine.describe(self.device, self.reason, {})
        devices = self.group.gather(f"{self.device.name} on {found.processor}")
        steps = measure.STEPS_PER_TURN[self.device.target]
        with self._wire() as wire:
            name = None if wire is None else wire.name
            self._say(str(found), _ranks(devices, name, self.parsed.wire_delay))
            rows = [self._measure(task, wire, steps) for task in self.tasks]
        if self.group.rank:
            return
        say("", table(results.HEADS, map(results.cells, rows)), "", results.legend(self.parsed.rounds, steps))
        for row in {row.network: row for row in rows if row.bytes}.values():
            say(results.bytes_line(row))
        for row in rows:
            if row.problem:
                say(f"{row.network}, batch {row.images}, cannot be computed by one rank: {row.problem}")
        if self.parsed.json is not None:
            about = {"devices": devices, "wire": name, "wire_delay": self.parsed.wire_delay}
            content = {"machine": found, **about, "rounds": self.parsed.rounds, "results": rows}
            text = json.dumps(content, default=dataclasses.asdict, indent=1)
            write_atomically(self.parsed.json, (text + "\n").encode())

    @contextmanager
    def _wire(self) -> Iterator[Wire | None]:
        if self.group.size == 1:
            yield None
            return
        with connected(self.group, self.device) as wire:
            yield DelayedWire(wire, self.parsed.wire_delay / 1e3) if self.parsed.wire_delay else wire

    def _measure(self, task: Task, wire: Wire | None, steps: int) -> results.Row:
        """All sides in turns."""
        with Rank(task, self.group, self.device, wire) as rank:
            sides = rank.turns()
            whole, problem = (None, "") if wire is None else whole_batch(task, self.group, self.device)
            if whole is not None:
                sides[WHOLE] = whole
            found = in_lockstep(sides, self.group, self.device, self.parsed.rounds, steps)
            return results.row(task, self.group.size, found, rank.buckets, problem)

    def _say(self, *lines: str) -> None:
        if self.group.rank == 0:
            say(*lines)


def _ranks(devices: list[str], wire: str | None, delay: float) -> str:
    counted = ", ".join(f"{count} x {name}" for name, count in Counter(devices).items())
    if wire is None:
        return f"one rank: {counted}"
    slower = f", each call of which takes {delay:g} ms longer" if delay else ""
    return f"{len(devices)} ranks: {counted}; gradients go by {wire}{slower}"
