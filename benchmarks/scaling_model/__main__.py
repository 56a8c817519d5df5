"""Predicts data-parallel training on many GPUs that are not at hand: python -m ttfs_cupy.benchmarks.scaling_model.

Nothing is measured. What a GPU computes of a step is from python -m ttfs_cupy.benchmarks.gpu_model; what the exchange
of gradients takes follows from its bytes, from NCCL's own model of its algorithms, and from a stated network. On GPUs
that are at hand `ttfs bench --scaling` measures it.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.scaling_model.__main__")

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.scaling_model import tables
from ttfs_cupy.benchmarks.scaling_model.assumptions import NETWORKS, NVLINKS, PROTOCOLS, Assumptions
from ttfs_cupy.benchmarks.scaling_model.prediction import (
    Prediction,
    Run,
    fastest,
    fewest_images,
    other_ways,
    predict,
    speedup,
)
from ttfs_cupy.benchmarks.scaling_model.share import gradients_of
from ttfs_cupy.benchmarks.workload import WORKLOADS
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.files.writing import write_atomically


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: Report(parsed).conclude(), process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.scaling_model", description=__doc__)
    add = parser.add_argument
    add("--gpu", nargs="+", choices=NVLINKS, default=["H100"], help="default: H100")
    add("--between", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="networks (default: all of them)")
    add("--ranks", nargs="+", type=options.count, default=[1, 8, 64, 1024], metavar="N", help="how many GPUs")
    options.add_networks_and_batch_sizes(parser, [256, 4096])
    add("--images", nargs="+", type=options.count, default=[32, 256], metavar="N", help="of a GPU (default: 32 256)")
    add("--json", type=Path, metavar="FILE", help="writes all numbers there")
    return parser


class Report:
    """All tables, printed as they are found and written at the end."""

    def __init__(self, parsed: argparse.Namespace):
        options.check_files(parsed.json, None)
        self.parsed = parsed
        self.given = Assumptions()
        self.gpus, self.between, self.networks = (
            list(dict.fromkeys(names)) for names in (parsed.gpu, parsed.between, parsed.networks)
        )
        self.ranks, self.batch_sizes, self.images = (
            list(dict.fromkeys(numbers)) for numbers in (parsed.ranks, parsed.batch_size, parsed.images)
        )
        self.runs = [
            Run(network, gpu, between, self.given)
            for gpu in self.gpus
            for network in self.networks
            for between in self.between
        ]

    def conclude(self) -> None:
        """All tables, one after the other."""
        say(tables.assumptions(self.given, self.gpus, self.between), "")
        say(*(tables.gradients(name, gradients_of(WORKLOADS[name])) for name in self.networks))
        say("", tables.LEGEND)
        found = {
            "same_batch": self.same_batch(),
            "same_images": self.same_images(),
            "fewest_images": self.fewest_images(),
            "fastest": self.fastest(),
            "other_ways": self.other_ways(),
        }
        if self.parsed.json is not None:
            text = json.dumps({**self._assumed(), **found}, indent=1)
            write_atomically(self.parsed.json, (text + "\n").encode())

    def same_batch(self) -> list[dict[str, Any]]:
        """Each of these returns what it prints, for JSON."""
        found = [
            (run, predict(run, ranks, batch))
            for batch in self.batch_sizes
            for run, ranks in self._each()
            if ranks <= batch
        ]
        rows = ([*tables.step(*one), f"{speedup(*one):.1f}"] for one in found)
        say("", "The same global batch:", tables.table([*tables.STEPS, tables.TIMES_ONE], rows))
        return [{**_plain(*one), "times_one": speedup(*one)} for one in found]

    def same_images(self) -> list[dict[str, Any]]:
        found = [(run, predict(run, ranks, ranks * of)) for of in self.images for run, ranks in self._each()]
        say("", "As many images a GPU:", tables.table(tables.STEPS, (tables.step(*one) for one in found)))
        return [_plain(*one) for one in found]

    def fewest_images(self) -> list[dict[str, Any]]:
        found = [
            (run, ranks, [fewest_images(run, ranks, efficiency) for efficiency in tables.EFFICIENCIES])
            for run, ranks in self._each()
            if ranks > 1
        ]
        say("", "The fewest images a GPU, a power of two, for an efficiency of so much:")
        say(tables.table(tables.LIMITS, (tables.limits(*one) for one in found)))
        return [
            {**_of(run, ranks), **dict(zip(map(str, tables.EFFICIENCIES), fewest, strict=True))}
            for run, ranks, fewest in found
        ]

    def fastest(self) -> list[dict[str, Any]]:
        found = [(run, fastest(run, batch)) for batch in self.batch_sizes for run in self.runs]
        say("", "The number of GPUs, a power of two, with the most images/s, for the same global batch:")
        say(tables.table(tables.FASTEST, (tables.fastest(*one) for one in found)))
        return [{**_plain(*one), "times_one": speedup(*one)} for one in found]

    def other_ways(self) -> list[dict[str, Any]]:
        images = self.images[0]
        found = [
            (run, ranks, images, list(other_ways(run, ranks, ranks * images)))
            for run, ranks in self._each()
            if ranks > 1
        ]
        say("", "Other ways to exchange; memory: more or less of a GPU:")
        rows = (tables.other_way(run, ranks, of, way, ways[0]) for run, ranks, of, ways in found for way in ways)
        say(tables.table(tables.OTHER_WAYS, rows))
        return [
            {**_of(run, ranks), "of_a_gpu": images, **dataclasses.asdict(way)}
            for run, ranks, images, ways in found
            for way in ways
        ]

    def _each(self) -> Iterator[tuple[Run, int]]:
        """Every run on every number of GPUs; within a machine one network is as good as another."""
        for run in self.runs:
            for ranks in self.ranks:
                if run.between == self.between[0] or run.fabric.machines(ranks) > 1:
                    yield run, ranks

    def _assumed(self) -> dict[str, Any]:
        return {
            "predicted": tables.NOTHING_RAN,
            "assumptions": dataclasses.asdict(self.given),
            "protocols": [dataclasses.asdict(way) for way in PROTOCOLS],
            "nvlinks": {name: dataclasses.asdict(NVLINKS[name]) for name in self.gpus},
            "networks": {name: dataclasses.asdict(NETWORKS[name]) for name in self.between},
            "buckets": {name: [one.bytes for one in gradients_of(WORKLOADS[name]).buckets] for name in self.networks},
        }


def _of(run: Run, ranks: int) -> dict[str, Any]:
    return {"gpu": run.gpu, "network": run.network, "between": tables.between_of(run, ranks), "ranks": ranks}


def _plain(run: Run, found: Prediction) -> dict[str, Any]:
    """For JSON; times in microseconds."""
    line = found.timeline
    derived = {
        "shown": line.shown,
        "hidden": line.hidden,
        "images_per_second": found.images_per_second,
        "efficiency": found.efficiency,
    }
    return {**_of(run, found.ranks), **dataclasses.asdict(found), **derived}
