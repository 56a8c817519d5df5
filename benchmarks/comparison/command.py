"""Times the engine beside the same network in PyTorch, on a CPU or a GPU: python -m ttfs_cupy.bench."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ttfs_cupy.benchmarks import options
from ttfs_cupy.benchmarks.comparison import sides
from ttfs_cupy.benchmarks.comparison.report import Report
from ttfs_cupy.benchmarks.workload import WORKS
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.algorithm import PRECISIONS
from ttfs_cupy.convolution.choice import DEFAULT_PRECISION
from ttfs_cupy.ranks.together import together


def main(arguments: Sequence[str] | None = None, choices: Sequence[str] = ()) -> int:
    """The command; returns its exit code. choices: arguments that come before those of the command line."""
    parsed = parser().parse_args([*choices, *(sys.argv[1:] if arguments is None else arguments)])
    return command_line.run(lambda: _conclude(parsed), process_ends=arguments is None)


def _conclude(parsed: argparse.Namespace) -> int | None:
    """Returns an exit code where the command ends with other processes."""
    if not parsed.scaling:
        if parsed.wire_delay:
            raise UserError("--wire-delay slows the exchange of gradients down: use it with --scaling")
        Report(parsed).conclude()
        return None
    from ttfs_cupy.benchmarks.scaling.report import ScalingReport

    given = {"--against": parsed.against, "--layers": parsed.layers, "--memory": parsed.memory, "--plot": parsed.plot}
    if others := [option for option, value in given.items() if value]:
        raise UserError(f"--scaling measures the engine's training step on several ranks: leave out {others[0]}")
    if "step" not in parsed.work:
        raise UserError("--scaling measures training steps: leave out --work")
    return together(lambda group: ScalingReport(parsed, group).conclude())


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("bench"), description=__doc__)
    add = parser.add_argument
    options.add_networks_and_batch_sizes(parser, [32, 256])
    add("--device", default="auto", help="auto, cuda, cuda:N or cpu")
    add("--against", metavar="PEERS", help=f"{', '.join(sides.PEERS)} or none (default: eager,ann)")
    add("--work", nargs="+", choices=WORKS, default=list(WORKS), help="training step, inference (default: both)")
    add(
        "--psp-slope", type=options.slope, default=1.0, metavar="SLOPE", help="0 makes the engine compute what ann does"
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default=DEFAULT_PRECISION,
        help="of our products; with float32 PyTorch has no TF32 on a GPU either, else as by default (default: split)",
    )
    add("--rounds", type=options.count, default=7, metavar="N", help="turns of each side (default: 7)")
    add("--threads", type=options.count, metavar="N", help="of every side on a CPU (default: each side's own)")
    add(
        "--scaling",
        action="store_true",
        help="instead, what the exchange of gradients costs the ranks that mpirun, srun or torchrun has started; "
        "batch sizes are then of all ranks together",
    )
    add(
        "--wire-delay",
        type=options.milliseconds,
        default=0.0,
        metavar="MS",
        help="of --scaling on CPUs: has each call of the exchange take so much longer, to see what overlap is worth",
    )
    add("--layers", action="store_true", help="also the time of each layer and pass of our training step")
    add("--memory", action="store_true", help="also the peak memory of a process for each side")
    add("--json", type=Path, metavar="FILE", help="writes all numbers there")
    add("--plot", type=Path, metavar="FILE.png", help="draws images per second (pip install 'ttfs-cupy[bench]')")
    return parser
