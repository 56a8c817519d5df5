"""What a checkpoint costs a run: how long a step waits for it, and how long its file takes beside the steps.

    python -m ttfs_cupy.benchmarks.checkpoint_cost [--networks vgg11] [--batch-size 32] [--rounds 5] [--folder DIR]

A step waits while all is copied from the device. The file is written by a thread of its own; on a CPU that thread has
to share the cores, so a step beside it is timed, too.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.checkpoint_cost")

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.measure import median, turns
from ttfs_cupy.benchmarks.ours import WARM_UPS_OF_GRAPHS, Ours
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command import command_line
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.experiment.checkpoints import Checkpoints
from ttfs_cupy.experiment.files.progress import Progress
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.files.state import RunState

# of CIFAR-10 without its tenth for validation
IMAGES = 45_000


@dataclass
class _Seconds:
    """Round by round: a step alone; a checkpoint, copied and written; the copy alone, and a step beside the writing."""

    step: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    name = "python -m ttfs_cupy.benchmarks.checkpoint_cost"
    parser = command_line.Parser(prog=name, description=__doc__.split("\n")[0])
    options.add_networks_and_batch_sizes(parser, [32])
    options.add_device_and_rounds(parser, rounds=5)
    parser.add_argument(
        "--folder",
        type=command_line.path,
        metavar="DIR",
        help="on the disk that is meant (default: the system's)",
    )
    parsed = parser.parse_args(arguments)

    def work() -> None:
        device, _ = get_device(parsed.device)
        for line in lines(device, parsed.networks, parsed.batch_size, parsed.rounds, parsed.folder):
            command_line.say(line)

    return command_line.run(work, process_ends=arguments is None)


def lines(
    device: Device, networks: Sequence[str], batch_sizes: Sequence[int], rounds: int, folder: Path | None
) -> Iterator[str]:
    """A table, row by row, as it is measured: milliseconds, medians of the rounds, and shares of an epoch."""
    columns = f"{'MB':>8}{'step':>10}{'copy':>10}{'whole':>10}{'step beside':>13}{'copy/epoch':>12}{'whole/epoch':>13}"
    yield f"{'':20}{columns}"
    for name in networks:
        for batch_size in batch_sizes:
            size, seconds = _measured(device, Task(WORKLOADS[name], batch_size), rounds, folder)
            step, copy, whole, beside = map(median, (seconds.step, seconds.copy, seconds.whole, seconds.beside))
            epoch = step * IMAGES / batch_size
            yield (
                f"{f'{name}, batch {batch_size}':20}{size / 1e6:8.1f}{step * 1e3:10.1f}{copy * 1e3:10.1f}"
                f"{whole * 1e3:10.1f}{beside * 1e3:13.1f}{copy / epoch:12.3%}{whole / epoch:13.3%}"
            )


def _measured(device: Device, task: Task, rounds: int, folder: Path | None) -> tuple[int, _Seconds]:
    """The bytes of a checkpoint, and how long what takes."""
    ours, seconds = Ours(task, device), _Seconds()
    for _ in range(WARM_UPS_OF_GRAPHS):
        ours.finished_step()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        run = RunDirectory.create(Path(name, "run"), "")
        checkpoints, progress = Checkpoints(run, RunState(ours.net, ours.optimizer), None), Progress()
        checkpoints.begin(progress)

        def copied_beside_a_step() -> None:
            seconds.copy.append(_seconds(lambda: checkpoints.within_epoch(progress, "", is_asked=False)))
            seconds.beside.append(_seconds(ours.finished_step))
            checkpoints.finish()

        for side in turns(3, rounds):
            if side == 0:
                seconds.step.append(_seconds(ours.finished_step))
            elif side == 1:
                seconds.whole.append(_seconds(lambda: checkpoints.begin(progress)))
            else:
                copied_beside_a_step()
        size = run.last.stat().st_size
        run.discard()
    return size, seconds


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
