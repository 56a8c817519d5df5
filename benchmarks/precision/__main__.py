"""What precision costs: trains a config on a CPU with operands rounded as tensor cores round them.

    python -m ttfs_cupy.benchmarks.precision --forward float32 split tf32 --backward float32 tf32

A run that is already in the folder of runs is not trained again, and one that was interrupted goes on.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.precision.__main__")

import argparse
import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.benchmarks import kept_runs, machine, options
from ttfs_cupy.benchmarks.precision import tables as precision_tables
from ttfs_cupy.benchmarks.precision.evaluation import Evaluated, Sums, Trained, compare, random_numbers, sums_of_a_layer
from ttfs_cupy.benchmarks.precision.rounded import Switch, Variant
from ttfs_cupy.benchmarks.precision.rounding import FLOAT32, FORMATS
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import prepare
from ttfs_cupy.experiment.run_weights import load_best

logger = logging.getLogger("ttfs_cupy")

FORWARD = (FLOAT32, *FORMATS)
# Gradients are not near 1: in halves, at the units of forward, many would be lost.
BACKWARD = (FLOAT32, *(name for name, numbers in FORMATS.items() if not numbers.scaled))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: Study(parsed).conclude(), process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.precision", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--config", default="small_fmnist", help="a YAML file, or the name of a bundled one (default: small_fmnist)")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="default: 0 1 2")
    add("--forward", nargs="+", choices=FORWARD, default=[FLOAT32, "split", "tf32"], help="default: float32 split tf32")
    add("--backward", nargs="+", choices=BACKWARD, default=[FLOAT32, "tf32"], help="default: float32 tf32")
    add(
        "--evaluate",
        nargs="*",
        choices=FORWARD[1:],
        default=["split", "tf32", "half", "bf16x2"],
        help="what networks trained in float32 are evaluated with, too (default: split tf32 half bf16x2)",
    )
    parser.add_overrides("any key of the config; may be repeated")
    add("--runs", type=Path, default=Path("runs/precision"), metavar="DIR", help="default: runs/precision")
    add("--json", type=Path, metavar="FILE", help="writes all numbers there")
    return parser


class Study:
    """Every variant with every seed: trained, then evaluated as trained and in float32."""

    def __init__(self, parsed: argparse.Namespace):
        self.parsed = parsed
        options.check_files(parsed.json, None)
        self.variants = [
            Variant(forward, backward)
            for forward in dict.fromkeys(parsed.forward)
            for backward in dict.fromkeys(parsed.backward)
        ]
        self.trained: list[Trained] = []
        self.evaluated: list[Evaluated] = []
        self.sums: list[Sums] = []
        self.numbers = random_numbers()
        self.machine: machine.Machine | None = None

    def conclude(self) -> None:
        for seed in dict.fromkeys(self.parsed.seeds):
            for variant in self.variants:
                self._try(variant, seed)
                # after each, since all of them take a while
                self._write()
        tables = precision_tables.report(self.trained, self.evaluated, self.sums, self.numbers)
        command_line.say(*tables)

    def _try(self, variant: Variant, seed: int) -> None:
        # algorithms by their shapes, so that two runs convolve with the same ones
        overrides = [*self.parsed.set, "device=cpu", "tune=false", f"seed={seed}"]
        experiment = prepare(load_config(self.parsed.config, overrides))
        network, switch = experiment.network, Switch(experiment.network)
        switch.to(variant)
        name = f"{Path(self.parsed.config).stem}-{variant.forward}-{variant.backward}-seed-{experiment.config.seed}"
        run = kept_runs.directory(self.parsed.runs / name, experiment, "--runs")
        trainer = kept_runs.train(experiment, run)
        load_best(network, run.best)
        formats = [variant.forward, *(self.parsed.evaluate if variant == Variant(FLOAT32, FLOAT32) else [])]
        outcomes = compare(network, switch, experiment.test, formats)
        seconds = sum(line["seconds"] for line in trainer.metrics.lines)
        about = (str(variant), seed, trainer.progress.best_epoch, seconds)
        self.trained.append(Trained(*about, outcomes[variant.forward], outcomes[FLOAT32]))
        self.evaluated += [Evaluated(seed, name, outcomes[name]) for name in formats[1:]]
        if len(formats) > 1 and not self.sums:
            self.sums = sums_of_a_layer(network, next(experiment.test.epoch(0)).inputs)
        self.machine = machine.describe(experiment.device, experiment.device_reason, {})
        command_line.say(precision_tables.line(self.trained[-1]))

    def _write(self) -> None:
        if self.parsed.json is None:
            return
        found = {"trained": self.trained, "evaluated": self.evaluated, "sums": self.sums, "numbers": self.numbers}
        everything = {"machine": self.machine, "config": self.parsed.config, "set": self.parsed.set, **found}
        write_atomically(
            self.parsed.json, (json.dumps(everything, default=dataclasses.asdict, indent=1) + "\n").encode()
        )
