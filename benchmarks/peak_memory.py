"""Peak memory of a process that trains, the engine's beside eager PyTorch's on the same work.

    python benchmarks/peak_memory.py [--network vgg7] [--batch 256] [--steps 2]

Each side runs in a process of its own, which reports the largest resident set it ever had.
"""

import argparse
import json
import resource
import subprocess
import sys
from typing import NamedTuple


class Peak(NamedTuple):
    """Bytes: once the network stands and its data is there, and at most."""

    ready: int
    training: int


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.network, arguments.batch, arguments.steps)))
        return
    # Up to here nothing large may be imported: a process starts out with the peak of the one that started it.
    print(f"{arguments.network}, batch {arguments.batch}, {arguments.steps} steps; largest resident set in MiB")
    print()
    print(f"{'':12}{'before training':>18}{'training':>12}")
    peaks = {side: in_a_process(side, arguments) for side in ("ttfs_cupy", "PyTorch")}
    for side, peak in peaks.items():
        print(f"{side:12}{peak.ready / 2**20:18.0f}{peak.training / 2**20:12.0f}")
    print()
    print(f"PyTorch / ttfs_cupy: {peaks['PyTorch'].training / peaks['ttfs_cupy'].training:.2f}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory of training, beside the same model in eager PyTorch.")
    parser.add_argument("--network", default="vgg7")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


def in_a_process(side: str, arguments: argparse.Namespace) -> Peak:
    options = {"--network": arguments.network, "--batch": arguments.batch, "--steps": arguments.steps, "--side": side}
    command = [sys.executable, __file__, *(str(part) for option in options.items() for part in option)]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return Peak(*json.loads(result.stdout))


def measure(side: str, network: str, batch: int, steps: int) -> Peak:
    """Trains in this process."""
    from workload import SIDES, WORKLOADS

    step = SIDES[side](WORKLOADS[network], batch)
    ready = largest_resident_set()
    for _ in range(steps):
        step()
    return Peak(ready, largest_resident_set())


def largest_resident_set() -> int:
    """Of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
