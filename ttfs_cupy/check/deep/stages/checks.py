"""What `check` does, but for the architectures of other GPUs, which CI compiles for: is everything right here?"""

from dataclasses import dataclass
from functools import partial

from ttfs_cupy.check.algorithms import run_algorithms
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.kernel_report import cpu_kernels, run_kernels
from ttfs_cupy.check.machine import chosen_device, cuda_stack, gpus, versions
from ttfs_cupy.check.network import replay_steps, run_network
from ttfs_cupy.check.report import Report


@dataclass(frozen=True)
class Checked:
    """What check says in the end."""

    problems: list[str]
    untested: list[str]


def run(notes: Notes, name: str) -> None:
    report = Report()
    for part in (versions, cuda_stack, gpus):
        report.attempt(partial(part, report))
    device = report.attempt(lambda: chosen_device(report, name))
    report.attempt(lambda: cpu_kernels(report, needed=device is None or device.name == "cpu"))
    if device is not None:
        for figure in report.attempt(partial(run_kernels, report, device)) or []:
            notes.record(figure)
        for verdict in report.attempt(partial(run_algorithms, report, device)) or []:
            notes.record(verdict)
        for check in (run_network, replay_steps):
            report.attempt(partial(check, report, device))
    notes.record(Checked(report.problems, report.untested))
    for problem in report.problems:
        notes.attention(problem)
    if not report.problems:
        notes.found("; ".join(["check finds nothing wrong", *report.untested]))
