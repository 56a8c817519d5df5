"""Times a training step of the engine beside the same model in eager PyTorch, on this machine's CPU.

    python benchmarks/training_step.py [--networks vgg7 vgg11] [--batch 32] [--rounds 7]

Both sides run in one process and take turns, so that whatever else the machine does meets them alike; random images
with 19 % silent pixels; medians. The work of a step does not depend on the values, so neither does its time.
"""

import argparse
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from workload import SIDES, WORKLOADS, Step, Workload

from ttfs_cupy import device as devices


def main() -> None:
    arguments = parse_arguments()
    print(describe_machine())
    print()
    print(f"{'network':9}{'batch':>6}" + "".join(f"{side + ', ms':>15}" for side in SIDES) + f"{'ratio':>8}")
    for name in arguments.networks:
        medians = {
            side: 1e3 * statistics.median(seconds)
            for side, seconds in measure(WORKLOADS[name], arguments.batch, arguments.rounds).items()
        }
        ratio = medians["PyTorch"] / medians["ttfs_cupy"]
        columns = "".join(f"{median:15.1f}" for median in medians.values())
        print(f"{name:9}{arguments.batch:6}{columns}{ratio:8.2f}", flush=True)
    print()
    print(f"Medians of {arguments.rounds} rounds; a ratio above 1 means that ttfs_cupy is faster.")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Times a training step beside the same model in eager PyTorch.")
    parser.add_argument("--networks", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--batch", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=7)
    return parser.parse_args()


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def measure(workload: Workload, batch: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of each side's steps, after one that warms up; who goes first changes every round."""
    steps = {side: prepare(workload, batch) for side, prepare in SIDES.items()}
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for number in range(rounds):
        order = list(SIDES) if number % 2 == 0 else list(reversed(list(SIDES)))
        for side in order:
            seconds[side].append(time_of(steps[side]))
    return seconds


def time_of(step: Step) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def describe_machine() -> str:
    versions = [f"{package} {metadata.version(package)}" for package in ("ttfs-cupy", "numpy", "torch")]
    engine, _ = devices.get("cpu")
    return "\n".join(
        (
            f"{processor()}, {platform.system()}",
            f"Python {platform.python_version()}, {', '.join(versions)}",
            f"threads: {engine.workers} for ttfs_cupy, {torch.get_num_threads()} for PyTorch; "
            f"NumPy's BLAS: {np.show_config(mode='dicts')['Build Dependencies']['blas']['name']}",
        )
    )


def processor() -> str:
    """The CPU's name, where the system tells."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
