"""Peak memory of a process that trains on this machine's CPU, the engine's beside eager PyTorch's on the same work.

    python -m ttfs_cupy.benchmarks.peak_memory [--network vgg7] [--batch-size 256] [--steps 2]

`python -m ttfs_cupy.bench --memory` does the same for every side, and on a GPU.
"""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.peak_memory")

from collections.abc import Sequence

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.comparison import memory, sides, tables
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command import command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.peak_memory", description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=WORKLOADS, default="vgg7")
    parser.add_argument("--batch-size", type=options.count, default=256)
    parser.add_argument("--steps", type=options.count, default=2)
    parsed = parser.parse_args(arguments)
    task = Task(WORKLOADS[parsed.network], parsed.batch_size)
    return command_line.run(lambda: weigh(task, parsed.steps), process_ends=arguments is None)


def weigh(task: Task, steps: int) -> None:
    names = (sides.OURS, "eager")
    command_line.say(
        tables.memory([memory.weigh(task, name, sides.variants(name), "cpu", None, steps) for name in names])
    )
