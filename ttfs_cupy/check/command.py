"""Tells whether ttfs_cupy works on this machine, and what to do where it does not: python -m ttfs_cupy.check."""

import argparse
import inspect
import platform
import re
from collections.abc import Callable, Sequence

from ttfs_cupy.check import deep
from ttfs_cupy.check.algorithms import run_algorithms, throughput
from ttfs_cupy.check.kernel_report import cpu_kernels, cubins, run_kernels
from ttfs_cupy.check.machine import chosen_device, cuda_stack, gpus, versions
from ttfs_cupy.check.network import replay_steps, run_network
from ttfs_cupy.check.report import FAILED, Report, remedy
from ttfs_cupy.common.command import command_line, interruption
from ttfs_cupy.common.command.typed_command import called
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import check_writable, write_atomically
from ttfs_cupy.common.machine import address_space
from ttfs_cupy.common.version import __version__
from ttfs_cupy.device import NAMES
from ttfs_cupy.experiment.files.outputs import check_of_no_run

__all__ = ["FAILED", "Report", "main", "remedy", "replay_steps"]

# The budget of --deep: nine minutes
SECONDS = 540

# of address space, for NVRTC and all kernels
ROOM = 2 << 30


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: 0 if all is well, 1 if something is wrong."""
    made = parser()
    parsed = made.parse_args(arguments)
    if not re.fullmatch(NAMES, parsed.device):
        made.error(f"device '{parsed.device}' is not known")
    work = _in_depth(made, parsed) if parsed.deep else _at_once(made, parsed)
    return command_line.run(lambda: _with_room(work), process_ends=arguments is None)


def parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog=called("check"), description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:N or cpu")
    parser.add_argument(
        "--report",
        type=command_line.path,
        metavar="FILE",
        help="also writes all of the output there, to be attached to an issue; with --deep a folder, which is needed",
    )
    in_depth = parser.add_argument_group("in depth", inspect.cleandoc(deep.__doc__ or ""))
    in_depth.add_argument("--deep", action="store_true", help="all that only this device can tell, stage by stage")
    in_depth.add_argument("--seconds", type=int, metavar="N", help=f"the budget (default: {SECONDS})")
    in_depth.add_argument("--only", metavar="STAGES", help=f"some of {','.join(stage.name for stage in deep.STAGES)}")
    return parser


def _with_room(work: Callable[[], int]) -> int:
    """With less, libraries and kernels fail in their own ways, and would be called broken. Raises UserError."""
    if address_space.is_limited() and not address_space.has_room(ROOM):
        raise UserError(
            f"less than {ROOM >> 30} GiB of address space are left, which is too little for these checks: raise the "
            "limit that is set (ulimit -v)"
        )
    return work()


def _at_once(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Callable[[], int]:
    """What there is to do without --deep; it returns the exit code."""
    if parsed.seconds is not None or parsed.only is not None:
        parser.error("--seconds and --only are for --deep")
    if parsed.report is not None and (parsed.report.is_dir() or not parsed.report.parent.is_dir()):
        parser.error(f"--report {parsed.report} is no file that could be written")

    def work() -> int:
        if parsed.report is not None:
            check_writable(parsed.report)
            check_of_no_run(parsed.report)
        report = Report()
        try:
            return conclude(report, parsed.device)
        except KeyboardInterrupt:
            interruption.arrived()
            report.note("interrupted")
            raise
        except command_line.OutputError as error:
            report.note(str(error))
            raise
        finally:
            if parsed.report is not None:
                write_atomically(parsed.report, ("\n".join(report.lines) + "\n").encode())

    return work


def _in_depth(parser: argparse.ArgumentParser, parsed: argparse.Namespace) -> Callable[[], int]:
    """What there is to do with --deep; it returns the exit code."""
    names = [stage.name for stage in deep.STAGES] if parsed.only is None else parsed.only.split(",")
    unknown = sorted(set(names) - {stage.name for stage in deep.STAGES})
    if unknown:
        parser.error(f"stage '{unknown[0]}' is not known")
    if parsed.seconds is not None and parsed.seconds < 1:
        parser.error(f"--seconds {parsed.seconds} is no budget")
    if parsed.report is None:
        parser.error("--deep needs --report, a folder for what it finds")
    stages = [stage for stage in deep.STAGES if stage.name in names]
    return lambda: deep.run(stages, parsed.report, parsed.seconds or SECONDS, parsed.device)


def conclude(report: Report, name: str) -> int:
    """All parts, one after the other, and the last line."""
    report.say("ttfs_cupy", f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    report.attempt(lambda: versions(report))
    report.attempt(lambda: cuda_stack(report))
    report.attempt(lambda: gpus(report))
    device = report.attempt(lambda: chosen_device(report, name))
    built = report.attempt(lambda: cpu_kernels(report, needed=device is None or device.name == "cpu"))
    compiled = report.attempt(lambda: cubins(report))
    if device is None or (device.name == "cpu" and not built):
        report.untested.append("no kernel was run")
    else:
        report.attempt(lambda: run_kernels(report, device))
        report.attempt(lambda: run_algorithms(report, device))
        report.attempt(lambda: run_network(report, device))
        report.attempt(lambda: replay_steps(report, device))
        report.attempt(lambda: throughput(report, device))
    if device is not None and device.name == "cpu":
        done = f"compiled for {compiled}, not run" if compiled else "neither compiled nor run"
        report.untested.append(
            f"no GPU was used: the kernels for GPUs, those on tensor cores among them, were {done}, no training step "
            "was replayed as a CUDA graph, and no throughput was measured"
        )
    return report.last_line()
