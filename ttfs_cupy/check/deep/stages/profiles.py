"""Microseconds of each kernel in a step, a forward pass and an evaluation; how long no kernel runs.

By PyTorch's profiler, which has CUDA tell of all kernels of the process, whoever launched them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfs_cupy.benchmarks.ours import WARM_UPS_OF_GRAPHS, Ours
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.clock import seconds_of
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.check.deep.stages.graphs import TINY
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.engine.steps.evaluation import Evaluator

TASKS = {
    "cuda": (Task(WORKLOADS["vgg11"], 128), Task(WORKLOADS["vgg7"], 128)),
    "cpu": (Task(TINY, 8),),
}
TIMES = 5
MOST_KERNELS = 40

# In the names of its kernels
OF_PYTORCH = "at::native"


@dataclass(frozen=True)
class Span:
    """A kernel, or a copy, on the GPU's clock, in microseconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class KernelTime:
    """Of one call of the work: how often it runs, and microseconds of all of them."""

    work: str
    kernel: str
    times: float
    microseconds: float


@dataclass(frozen=True)
class Wall:
    """Microseconds of one call, with no profiler, one call after the other."""

    work: str
    microseconds: float


@dataclass(frozen=True)
class Busy:
    """Of one call: how many kernels run, and microseconds in which at least one does."""

    work: str
    kernels: float
    microseconds: float


def run(notes: Notes, name: str) -> None:
    device, _ = get_device(name)
    tasks = TASKS[device.target]
    trouble = "a CPU has no kernels to profile" if device.gpu is None else tools.torch_trouble(device)
    if trouble:
        notes.found(f"{trouble}: wall time only")
    walls: dict[str, float] = {}
    for task in tasks:
        for work, body in works(device, task):
            walls[work] = seconds_of(device, body) * 1e6
            notes.record(Wall(work, walls[work]))
            (notes.found if trouble else notes.say)(f"{work}: {walls[work] / 1e3:.3f} ms")
    if trouble is None:
        profile(notes, walls, seen(device, tasks))


def works(device: Device, task: Task) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is profiled of a network, tuned, by name."""
    about = f"{task.workload.name} {task.batch_size}"
    for capture in (True, False) if device.streams else (False,):
        ours = Ours(task, device, capture=capture)
        for _ in range(WARM_UPS_OF_GRAPHS):
            ours.finished_step()
        yield f"{about} step, {'as a graph' if capture else 'launched'}", ours.step
    evaluator, inputs = Evaluator(ours.net, task.batch_size), device.to_host(ours.encoded)
    labels = task.workload.batch(task.batch_size)[1].astype(np.int32)

    def evaluate() -> None:
        evaluator.send(inputs, labels)
        evaluator.run()

    for _ in range(WARM_UPS_OF_GRAPHS):
        evaluate()
    yield f"{about} forward", lambda: ours.net.run(ours.encoded)
    yield f"{about} evaluation", evaluate


def profile(notes: Notes, walls: Mapping[str, float], spans: Mapping[str, Sequence[Span]]) -> None:
    """walls: microseconds of each work with no profiler. spans: what the profiler saw of it."""
    for work, wall in walls.items():
        kernels = spans.get(work, ())
        if not kernels:
            notes.attention(f"{work}: {wall / 1e3:.3f} ms, of which the profiler saw no kernel")
            continue
        found = Busy(work, len(kernels) / TIMES, busy(kernels) / TIMES)
        notes.record(found)
        table = by_kernel(work, kernels)
        notes.say(f"{work}:")
        for row in table[:MOST_KERNELS]:
            notes.record(row)
            notes.say(f"{row.microseconds:10.1f} us {row.times:6g} x {row.kernel}")
        most = ", ".join(f"{row.kernel[:28]} {row.microseconds:.0f}" for row in table[:3])
        share = found.microseconds / wall
        notes.found(f"{work}: {wall / 1e3:.3f} ms, {found.kernels:g} kernels for {share:.0%} of it; us: {most}")


def seen(device: Device, tasks: Iterable[Task]) -> dict[str, list[Span]]:
    """All that the GPU does in TIMES calls of each work.

    In one session, in which the graphs are made, too: there are versions of CUDA whose profiler sees nothing in a
    second session, and others in which it spoils graphs that are older than it. A kernel of PyTorch's own stands
    between two works.
    """
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity

    torch.cuda.set_device(torch.device(device.name))
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as profiler:
        bodies = {work: body for task in tasks for work, body in works(device, task)}
        for body in bodies.values():
            device.synchronize()
            torch.ones(1, device=device.name)
            torch.cuda.synchronize()
            for _ in range(TIMES):
                body()
            device.synchronize()
    events = [event for event in profiler.events() if event.device_type == DeviceType.CUDA]
    return parted(bodies, (Span(each.name, each.time_range.start, each.time_range.end) for each in events))


def parted(works: Iterable[str], spans: Iterable[Span]) -> dict[str, list[Span]]:
    """By the works, before each of which comes a kernel of PyTorch's; what is before the first is left out."""
    found: dict[str, list[Span]] = {}
    rest = iter(works)
    for span in sorted(spans, key=lambda span: span.start):
        if OF_PYTORCH in span.name:
            found[next(rest, "")] = []
        elif found:
            found[list(found)[-1]].append(span)
    return found


def busy(kernels: Iterable[Span]) -> float:
    """Microseconds in which at least one of them ran."""
    total, until = 0.0, float("-inf")
    for span in sorted(kernels, key=lambda span: span.start):
        total += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return total


def by_kernel(work: str, kernels: Iterable[Span], times: int = TIMES) -> list[KernelTime]:
    """The longest first."""
    sums: dict[str, tuple[int, float]] = {}
    for span in kernels:
        name = span.name.partition("(")[0].removeprefix("void ")[:80]
        count, microseconds = sums.get(name, (0, 0.0))
        sums[name] = count + 1, microseconds + span.end - span.start
    rows = [KernelTime(work, name, count / times, total / times) for name, (count, total) in sums.items()]
    return sorted(rows, key=lambda row: -row.microseconds)
