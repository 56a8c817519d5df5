"""Microseconds of each kernel in a step, a forward pass and an evaluation; how long no kernel runs.

By PyTorch's profiler, which has CUDA tell of all kernels of the process, whoever launched them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ttfs_cupy import device as devices
from ttfs_cupy.benchmarks.ours import WARM_UPS_OF_GRAPHS, Ours
from ttfs_cupy.benchmarks.workload import WORKLOADS, Task
from ttfs_cupy.check.deep import tools
from ttfs_cupy.check.deep.clock import seconds_of
from ttfs_cupy.check.deep.graphs import TINY
from ttfs_cupy.check.deep.notes import Notes
from ttfs_cupy.device import Device
from ttfs_cupy.metrics import FiringRates

TASKS = {
    "cuda": (Task(WORKLOADS["vgg11"], 128), Task(WORKLOADS["vgg7"], 128)),
    "cpu": (Task(TINY, 8),),
}
TIMES = 5
MOST_KERNELS = 40


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
class Profile:
    """Of one call, in microseconds. wall: with no profiler, one call after the other. busy: at least one kernel runs.

    kernels: how many run. None where nothing could be seen.
    """

    work: str
    wall: float
    kernels: float | None = None
    busy: float | None = None


def run(notes: Notes, name: str) -> None:
    device, _ = devices.get(name)
    trouble = "a CPU has no kernels to profile" if device.gpu is None else tools.torch_trouble(device)
    if trouble:
        notes.found(f"{trouble}: wall time only")
    else:
        # what CUDA is to tell of graphs has to be asked for before they are made
        list(spans(device, lambda: None, 1))
    for task in TASKS[device.target]:
        for work, body in works(device, task):
            if notes.left < 3:
                return notes.attention(f"out of time before {work}")
            profile(notes, device, work, body, seen=trouble is None)
    return None


def works(device: Device, task: Task) -> Iterator[tuple[str, Callable[[], object]]]:
    """What is profiled of a network, tuned, by name."""
    about = f"{task.workload.name} {task.batch}"
    for capture in (True, False) if device.streams else (False,):
        ours = Ours(task, device, capture=capture)
        for _ in range(WARM_UPS_OF_GRAPHS):
            ours.finished_step()
        yield f"{about} step, {'as a graph' if capture else 'launched'}", ours.step
    network, rates = ours.net, FiringRates(ours.net)
    labels = device.to_device(task.workload.batch(task.batch)[1].astype(np.int32))

    def evaluate() -> None:
        network.loss.add(network.run(ours.encoded, watch=rates.watch), labels)

    yield f"{about} forward", lambda: network.run(ours.encoded)
    yield f"{about} evaluation", evaluate


def profile(notes: Notes, device: Device, work: str, body: Callable[[], object], *, seen: bool) -> None:
    """seen: whether kernels can be."""
    found = Profile(work, seconds_of(device, body) * 1e6)
    if not seen:
        notes.record(found)
        notes.found(f"{work}: {found.wall / 1e3:.3f} ms")
        return
    kernels = list(spans(device, body, TIMES))
    if not kernels:
        notes.record(found)
        notes.attention(f"{work}: {found.wall / 1e3:.3f} ms, of which the profiler saw no kernel")
        return
    found = replace(found, kernels=len(kernels) / TIMES, busy=busy(kernels) / TIMES)
    notes.record(found)
    table = by_kernel(work, kernels)
    for row in table[:MOST_KERNELS]:
        notes.record(row)
        notes.say(f"{row.microseconds:10.1f} us {row.times:6g} x {row.kernel}")
    assert found.busy is not None
    most = ", ".join(f"{row.kernel[:28]} {row.microseconds:.0f}" for row in table[:3])
    notes.found(
        f"{work}: {found.wall / 1e3:.3f} ms, kernels run for {found.busy / found.wall:.0%}, {found.kernels:g} of them; "
        f"most us: {most}"
    )


def spans(device: Device, body: Callable[[], object], times: int) -> Iterator[Span]:
    """All that the GPU did while the body ran so many times."""
    import torch
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity

    torch.cuda.set_device(torch.device(device.name))
    torch.cuda.init()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(times):
            body()
        device.synchronize()
        torch.cuda.synchronize()
    for event in profiler.events():
        if event.device_type == DeviceType.CUDA:
            yield Span(event.name, event.time_range.start, event.time_range.end)


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
