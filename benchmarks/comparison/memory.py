"""Peak memory of a process that works on one side's task. Each side has a process of its own."""

import argparse
import json
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.benchmarks.comparison import sides
from ttfs_cupy.benchmarks.workload import WORKLOADS, WORKS, Task
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Device, get_device


@dataclass(frozen=True)
class Footprint:
    """Bytes. ready: resident, once the network stands and its data are there. peak: resident, at most.

    gpu: what the side's allocator has held of the GPU's memory at most, without the CUDA context; None on a CPU.
    """

    ready: int
    peak: int
    gpu: int | None

    @property
    def decisive(self) -> int:
        """What two sides are compared by."""
        return self.peak if self.gpu is None else self.gpu


@dataclass(frozen=True)
class Weighed:
    """A side's footprint in one task, of its leanest variant; or why there is none."""

    network: str
    batch_size: int
    work: str
    psp_slope: float
    side: str
    variant: str
    footprint: Footprint | None
    problem: str = ""


def weigh(task: Task, name: str, variants: Sequence[str], device: str, threads: int | None, steps: int = 2) -> Weighed:
    """Runs every variant in a process and returns the leanest."""
    if name == sides.OURS:
        # twice: a first process may have had to tune, which takes memory of its own
        variants = [*variants, *variants]
    results = [_in_a_process(task, name, variant, device, threads, steps) for variant in variants]
    return min(results, key=lambda result: result.footprint.decisive if result.footprint else float("inf"))


def _in_a_process(task: Task, name: str, variant: str, device: str, threads: int | None, steps: int) -> Weighed:
    options: dict[str, object] = {
        "side": name,
        "variant": variant,
        "network": task.workload.name,
        "batch-size": task.batch_size,
    }
    options |= {
        "precision": task.precision,
        "work": task.work,
        "slope": task.psp_slope,
        "device": device,
        "steps": steps,
    }
    if threads is not None:
        options["threads"] = threads
    arguments = [f"--{option}={value}" for option, value in options.items()]
    command = [sys.executable, "-m", __name__, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    about = (task.workload.name, task.batch_size, task.work, task.psp_slope, name, variant)
    if result.returncode:
        return Weighed(*about, None, _problem(result))
    return Weighed(*about, Footprint(**json.loads(result.stdout.splitlines()[-1])))


def _problem(result: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed, in one sentence."""
    if result.returncode < 0:
        return f"the process was ended by {signal.Signals(-result.returncode).name}, perhaps for want of memory"
    lines = result.stderr.strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines else f"the process ended with code {result.returncode}"


def main(arguments: Sequence[str] | None = None) -> int:
    """What each of the processes runs; prints a Footprint as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", required=True)
    parser.add_argument("--variant", default="")
    parser.add_argument("--network", choices=WORKLOADS, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--work", choices=WORKS, default="step")
    parser.add_argument("--slope", type=float, default=1.0)
    parser.add_argument("--precision", default="split")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--steps", type=int, default=2)
    parsed = parser.parse_args(arguments)
    task = Task(WORKLOADS[parsed.network], parsed.batch_size, parsed.work, parsed.slope, parsed.precision)
    try:
        device, _ = get_device(parsed.device, parsed.threads)
        footprint = _footprint(task, parsed.side, parsed.variant, device, parsed.threads, parsed.steps)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(vars(footprint)))
    return 0


def _footprint(task: Task, name: str, variant: str, device: Device, threads: int | None, steps: int) -> Footprint:
    sides.set_up([name], device, threads, task.precision)
    side = sides.side(name, variant, device)
    try:
        running = side.build(task)
        ready = peak_resident_bytes()
        running.clock(running.step, steps)
    except Exception as error:
        sentence = side.explain(error)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    return Footprint(ready, peak_resident_bytes(), sides.peak_gpu_bytes(name, device))


def peak_resident_bytes() -> int:
    """The largest resident set of this process so far."""
    try:
        # not getrusage: its peak is inherited from the process that started this one
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    sys.exit(main())
