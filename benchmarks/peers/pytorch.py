"""PyTorch's sides. Of the benchmarks it, the networks that it runs and cudnn.py import torch, nothing else does."""

import os
from collections.abc import Callable
from functools import partial

import torch

from ttfs_cupy.benchmarks.measure import Clock, Running, Side, clock_between
from ttfs_cupy.benchmarks.peers.ann import MEMORY_FORMATS, Ann
from ttfs_cupy.benchmarks.peers.eager_t2fsnn import EagerNetwork
from ttfs_cupy.benchmarks.workload import LEARNING_RATE, Task
from ttfs_cupy.common.errors import UserError

# The engine's precision that leaves PyTorch no TF32 either
FLOAT32 = "float32"

# torch.compile compiles in the first step and may do so again in the second
COMPILE_WARM_UPS = 3


def set_up(device: str, threads: int | None, precision: str) -> dict[str, bool | int | str]:
    """Before anything else of PyTorch's; returns the settings that matter, by name. device: cpu or cuda:N.

    precision: the engine's. With float32 PyTorch has no TF32 either; else it is where PyTorch has it by default, in
    cuDNN's convolutions and not in plain products. Its convolutions are the fastest that cuDNN finds.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device == "cpu":
        return {"threads": torch.get_num_threads(), "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set")}
    if not torch.cuda.is_available():
        raise UserError("this PyTorch finds no CUDA device: install one that was built for CUDA, or use --against none")
    torch.cuda.set_device(torch.device(device))
    if precision == FLOAT32:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    return {
        "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
    }


def side(name: str, variant: str, device: str) -> Side:
    if name == "ann":
        return Side(name, variant, partial(_ann, variant=variant, device=device), explain=_out_of_memory)
    build = partial(_eager, device=device, compiled=name == "compile")
    if name == "compile":
        return Side(name, variant, build, COMPILE_WARM_UPS, _compile_trouble)
    return Side(name, variant, build, explain=_out_of_memory)


def clock(device: str) -> Clock:
    """On a GPU by events in the stream, which time the work itself."""

    def by_events(step: Callable[[], object], times: int) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        for _ in range(times):
            step()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / times

    return clock_between(lambda: None) if device == "cpu" else by_events


def multiplication(size: int, device: str) -> Callable[[], object]:
    """Of two square matrices, float32, for the peak."""
    one, other = (torch.rand(size, size, device=device) for _ in range(2))
    out = torch.empty_like(one)

    def multiply() -> object:
        switch = torch.backends.cuda.matmul
        allowed, switch.allow_tf32 = switch.allow_tf32, False
        try:
            return torch.mm(one, other, out=out)
        finally:
            switch.allow_tf32 = allowed

    return multiply


def peak_gpu_bytes() -> int:
    """What PyTorch's allocator has held at most."""
    return torch.cuda.max_memory_reserved()


def free_gpu_memory() -> None:
    """Gives back what the last task's networks held."""
    torch.cuda.empty_cache()


def _eager(task: Task, device: str, *, compiled: bool) -> Running:
    # what an earlier task had compiled counts towards a limit above which torch.compile gives up silently
    torch.compiler.reset()
    net = EagerNetwork(task.workload.spec, task.workload.weights(), device=device, compiled=compiled)
    images, labels = (torch.from_numpy(array).to(device) for array in task.workload.batch(task.batch_size))
    times = net.encode(images)
    if task.work == "inference":
        return Running(lambda: net.infer(times), clock(device))
    optimizer = torch.optim.Adam(net.parameters.values(), LEARNING_RATE, fused=True)
    return Running(lambda: net.train_step(times, labels, optimizer), clock(device))


def _ann(task: Task, device: str, *, variant: str) -> Running:
    memory_format = MEMORY_FORMATS[variant]
    net = Ann(task.workload.spec, task.workload.weights(), device).to(memory_format=memory_format)
    images, labels = (torch.from_numpy(array).to(device) for array in task.workload.batch(task.batch_size))
    images = images.contiguous(memory_format=memory_format)
    if task.work == "inference":
        return Running(lambda: net.infer(images), clock(device))
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE, fused=True)
    return Running(lambda: net.train_step(images, labels, optimizer), clock(device))


def _out_of_memory(error: Exception) -> str | None:
    lacks = isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
    return "PyTorch ran out of memory" if lacks else None


def _compile_trouble(error: Exception) -> str | None:
    lines = str(error).strip().splitlines() or [""]
    return _out_of_memory(error) or f"torch.compile failed ({type(error).__name__}: {lines[0][:200]})"
