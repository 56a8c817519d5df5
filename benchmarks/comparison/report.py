"""The engine beside PyTorch: all that a command line asks for, printed as it is found."""

import argparse
import dataclasses
import json

from ttfs_cupy.benchmarks import machine, measure, options, work
from ttfs_cupy.benchmarks.comparison import layers, memory, results, sides, tables
from ttfs_cupy.benchmarks.comparison import peak as peaks
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.device import get_device


class Report:
    """Everything that was asked for, printed as it is found and written to files at the end."""

    def __init__(self, parsed: argparse.Namespace):
        self.parsed = parsed
        self.peers = sides.peers(parsed.against, parsed.psp_slope)
        options.check_files(parsed.json, parsed.plot)
        self.device, reason = get_device(parsed.device, parsed.threads)
        self.names = [sides.OURS, *self.peers]
        self.tasks = [
            Task(WORKLOADS[network], batch_size, work, parsed.psp_slope, parsed.precision)
            for network in dict.fromkeys(parsed.networks)
            for batch_size in dict.fromkeys(parsed.batch_size)
            for work in dict.fromkeys(parsed.work)
        ]
        settings = sides.set_up(self.names, self.device, parsed.threads, parsed.precision)
        self.machine = machine.describe(self.device, reason, settings)

    def conclude(self) -> None:
        """All parts, one after the other."""
        say(str(self.machine))
        # first, while this process holds little of the memory that the others are to be weighed in
        weighed = self.weigh() if self.parsed.memory else []
        peak = peaks.peak(self.device, numpy_too=self.parsed.threads is None, torch_too=bool(self.peers))
        say("", tables.peak_line(peak))
        rows = self.compare(peak)
        breakdowns = self.break_down() if self.parsed.layers else []
        found = {"sgemm_peak": peak, "results": rows, "layers": breakdowns, "memory": weighed}
        self.write({"machine": self.machine, "rounds": self.parsed.rounds, **found}, rows)

    def compare(self, peak: peaks.Peak) -> list[results.Row]:
        """Every task, all sides taking turns."""
        steps = measure.STEPS_PER_TURN[self.device.target]
        candidates = [sides.side(name, variant, self.device) for name in self.names for variant in sides.variants(name)]
        say("", tables.COLUMNS)
        rows = []
        for task in self.tasks:
            measured = measure.compare(task, candidates, self.parsed.rounds, steps)
            sides.free_memory(self.names, self.device)
            flops = {side: work.flops(task, masked=side != "ann" and task.psp_slope != 0) for side in self.names}
            of_task = results.rows(task, self.names, measured, flops, peak.gflops)
            say(*map(tables.row_line, of_task))
            rows += of_task
        say("", tables.legend(rows, self.parsed.rounds, steps))
        return rows

    def break_down(self) -> list[layers.Breakdown]:
        """Our training step, for each network and batch."""
        found = []
        for task in dict.fromkeys(dataclasses.replace(task, work="step") for task in self.tasks):
            found.append(layers.break_down(task, self.device, self.parsed.rounds))
            sides.free_memory(self.names, self.device)
            say("", tables.breakdown(found[-1]))
        return found

    def weigh(self) -> list[memory.Weighed]:
        """Every side in every task, in processes of their own."""
        weighed = [
            memory.weigh(task, name, sides.variants(name), self.device.name, self.parsed.threads)
            for task in self.tasks
            for name in self.names
        ]
        say("", tables.memory(weighed))
        return weighed

    def write(self, found: dict[str, object], rows: list[results.Row]) -> None:
        """The files that were asked for."""
        if self.parsed.json is not None:
            text = json.dumps(found, default=dataclasses.asdict, indent=1)
            write_atomically(self.parsed.json, (text + "\n").encode())
        if self.parsed.plot is not None:
            from ttfs_cupy.benchmarks.comparison import plot

            write_atomically(self.parsed.plot, plot.picture(rows, self.machine.description))
