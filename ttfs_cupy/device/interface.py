"""What the engine asks of a device."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from ttfs_cupy.device.arrays import Array, Stack
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.device.gpu_limits import GpuLimits
from ttfs_cupy.device.launcher import count_trouble
from ttfs_cupy.device.streams import Streams


class Device(Protocol):
    """What the engine asks of a device. name is what the config calls it, target (cpu or cuda) what its kernels are
    built for, xp its array library.

    workers: how many tasks `parallel` runs at once. patch_bytes: a good size for what one task gathers;
    product_bytes: for what all workers multiply together. stack_gap: how many floats apart the matrices of a stack
    should lie. sum_groups: into how many tasks a sum over a batch is best split; it does not depend on the number
    of workers, since bits depend on it. gpu: what a GPU has room for; None on a CPU, which cannot launch_blocks.
    streams: a GPU's queues for overlapping copies and for graphs; None where work is done when its call returns.
    """

    @property
    def name(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def xp(self) -> ModuleType: ...
    @property
    def workers(self) -> int: ...
    @property
    def patch_bytes(self) -> int: ...
    @property
    def product_bytes(self) -> int: ...
    @property
    def stack_gap(self) -> int: ...
    @property
    def sum_groups(self) -> int: ...
    @property
    def gpu(self) -> GpuLimits | None: ...
    @property
    def streams(self) -> Streams | None: ...

    def current(self) -> AbstractContextManager[Any]:
        """Within it, what this thread asks of `xp` is of this device."""

    def alone(self) -> AbstractContextManager[Any]:
        """Likewise, and no other thread uses this device's streams and libraries."""

    def launch(self, kernel: str, work: int, *arguments: Any, each: int = 1) -> None:
        """Runs a kernel over `work` elements; an empty grid launches nothing.

        each: about how many times as much an element takes as one of an element-wise kernel.
        """

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        """Runs a cooperative kernel in that many blocks, each with so much dynamic shared memory."""

    def compile_ahead(self, variants: Iterable[Variant]) -> None:
        """Has machine code for these cooperative kernels, and for all flat ones, before somebody waits for each."""

    def registers(self, variant: Variant) -> int:
        """What a thread of it takes."""

    def panel(self, columns: int) -> int:
        """How wide the panels are in which `multiply` likes a right-hand matrix of so many columns."""

    def multiply(self, a: Stack, b: Stack, out: Stack, *, transposed: bool = False, add: bool = False) -> None:
        """out = a b, or with `transposed` out = aT b, for each matrix of the stacks; with `add`, out += that.

        b and out may be larger grids than a: it is their upper left corner then. b and only b may be in panels.
        """

    def parallel(self, tasks: int, body: Callable[[int, int], None]) -> None:
        """Calls body(task, worker) once for each task, in any order; worker < workers names the caller's buffers."""

    def holds(self, array: Any) -> bool:
        """Whether it is an array in this device's memory, aligned as kernels read it."""

    def to_device(self, array: Array) -> Array:
        """A C-contiguous array on this device (the same one if it is that already)."""

    def to_host(self, array: Array) -> np.ndarray:
        """A NumPy array of the values (the same one if it is that already)."""

    def synchronize(self) -> None:
        """Waits until all launched work is done."""

    def seconds(self, body: Callable[[], None]) -> float:
        """How long a call of the body takes, which only launches: on a GPU by events, over many calls."""

    def free_bytes(self) -> int:
        """Memory that an array could still take."""


def check_work(kernel: str, work: int) -> None:
    """Raises ValueError for more elements than a kernel can count."""
    if trouble := count_trouble(f"kernel {kernel}", work):
        raise ValueError(trouble)
