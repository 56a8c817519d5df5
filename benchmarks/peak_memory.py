"""Peak memory of a process that trains on this machine's CPU, the engine's beside eager PyTorch's on the same work.

    python -m ttfs_cupy.benchmarks.peak_memory [--network vgg7] [--batch-size 256] [--steps 2]

`python -m ttfs_cupy.bench --memory` does the same for every side, and on a GPU.
"""

import sys

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.comparison import memory, sides, tables
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.common.command import command_line


def main() -> int:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.peak_memory", description=__doc__.split("\n")[0])
    parser.add_argument("--network", choices=WORKLOADS, default="vgg7")
    parser.add_argument("--batch-size", type=options.count, default=256)
    parser.add_argument("--steps", type=options.count, default=2)
    parsed = parser.parse_args()
    return command_line.run(lambda: weigh(Task(WORKLOADS[parsed.network], parsed.batch_size), parsed.steps))


def weigh(task: Task, steps: int) -> None:
    names = (sides.OURS, "eager")
    print(tables.memory([memory.weigh(task, name, sides.variants(name), "cpu", None, steps) for name in names]))


if __name__ == "__main__":
    sys.exit(main())
