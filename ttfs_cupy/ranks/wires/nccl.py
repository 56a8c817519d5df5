"""Gradients over NCCL, between GPUs.

What is said here about NCCL and CuPy was read in NCCL's manual and sources (2.30) and in CuPy's; none of it has run on
several GPUs yet.
"""

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import Array, CudaDevice
from ttfs_cupy.device.libraries.nccl_library import is_recordable
from ttfs_cupy.device.streams import Graph
from ttfs_cupy.ranks.devices import require_own_gpus
from ttfs_cupy.ranks.group import Group, LostRankError
from ttfs_cupy.ranks.wires.losses import raise_lost

# NVLink SHARP adds in the switches, in an order of their own: "not deterministic between different calls" (NCCL's
# maintainers, github.com/NVIDIA/nccl/issues/1497). Whoever sets it has the speed instead of the same bits.
IN_SWITCHES = "NCCL_NVLS_ENABLE"

ABORTED = "it was aborted"

# Seconds from look to look at whether NCCL has failed
LOOK = 1.0
# Seconds in which a call under way returns, unless it waits for another rank itself: then abort is what ends it.
CALL = 1.0


class NcclWire:
    """One communicator over the GPUs of all ranks, one GPU a rank. Calls enqueue their work in the current stream.

    All ranks have the same bits, since NCCL adds up each value once and sends the sum on (NCCL's maintainers,
    github.com/NVIDIA/nccl/issues/855). From run to run they are the same for the same GPUs in the same places and the
    same version of NCCL, which chooses the algorithm, and so the order of additions, by topology and size; but for
    NVLink SHARP, which is therefore off unless NCCL_NVLS_ENABLE is set. Other GPUs or another network may round
    otherwise.

    Is made at all ranks at the same time, and raises UserError at all of them where one has no NCCL or another version,
    or where two have one GPU. While it is made NCCL waits for all ranks, and CuPy has no way to end that wait: if a
    rank is lost then, it is the group's watch that ends this process.

    Where NCCL fails while all ranks live, as when a network goes down, it has its kernels wait: a thread asks it every
    second, and then ends the run.

    is_recordable: whether calls can be recorded in a CUDA graph, at all ranks (NCCL 2.9, CUDA 11.3).
    """

    name = "nccl"

    def __init__(self, group: Group, device: CudaDevice):
        self._group, self._device = group, device
        self._is_aborted = self._is_closed = False
        # what NCCL has said as it failed
        self._trouble: str | None = None
        # held during each call: none must be in NCCL, or begin, while the communicator is given up
        self._calling = threading.Lock()
        # taken for good by whoever gives it up: NCCL bears that once
        self._ending = threading.Lock()
        # those with calls of this communicator that are still there
        self._graphs: weakref.WeakSet[Graph] = weakref.WeakSet()
        os.environ.setdefault(IN_SWITCHES, "0")
        members = group.gather(self._about())
        for rank, member in enumerate(members):
            if member["trouble"] is not None:
                raise UserError(f"{group.members[rank].named(rank)}: {member['trouble']}")
            if member["version"] != members[0]["version"]:
                raise UserError(
                    f"rank 0 has NCCL {_dotted(members[0]['version'])} and {group.members[rank].named(rank)} has "
                    f"{_dotted(member['version'])}: install the same version on all machines"
                )
        require_own_gpus(group, [member["gpu"] for member in members])
        self.is_recordable = all(is_recordable(member["version"], member["driver"]) for member in members)
        with device.current():
            try:
                with _in_words():
                    self._communicator: Any = self._nccl.NcclCommunicator(
                        group.size, bytes.fromhex(members[0]["id"]), group.rank
                    )
            except RuntimeError as error:
                group.check()
                raise UserError(f"NCCL cannot connect the GPUs ({error}): NCCL_DEBUG=WARN has it say why") from error
        # CuPy destroys a communicator with its object, and NCCL waits for its graphs to end before that: as Python ends
        # that could be for ever. So the object is never given up; close() destroys what is in it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._communicator))
        threading.Thread(target=_look_on, args=(weakref.ref(self),), name="ttfs_cupy_nccl", daemon=True).start()

    def _about(self) -> dict[str, Any]:
        """What the ranks have to know of this one; id: how to reach the first."""
        runtime, index = self._device.xp.cuda.runtime, self._device.index
        about = dict.fromkeys(("trouble", "gpu", "driver", "version", "id"))
        try:
            self._nccl = self._device.nccl()
            about |= {"gpu": runtime.deviceGetPCIBusId(index), "driver": runtime.driverGetVersion()}
            about |= {"version": self._nccl.get_version()}
            if self._group.rank == 0:
                with _in_words():
                    about |= {"id": self._nccl.get_unique_id().hex()}
        except (UserError, RuntimeError) as error:
            # RuntimeError: NCCL's own, as for a machine without a network
            return about | {"trouble": str(error)}
        return about

    def all_reduce(self, array: Array) -> None:
        if not self._device.holds(array) or array.dtype != np.float32 or not array.flags.c_contiguous:
            raise ValueError(f"the exchange is of contiguous float32 arrays on {self._device.name}")
        recording = self._device.streams.recording
        if recording is not None:
            self._graphs.add(recording)
        nccl, place = self._nccl, array.data.ptr
        stream = self._device.xp.cuda.get_current_stream().ptr
        try:
            with self._calling, _in_words():
                if not self._is_aborted:
                    self._communicator.allReduce(place, place, array.size, nccl.NCCL_FLOAT32, nccl.NCCL_SUM, stream)
                    return
        except RuntimeError as error:
            if recording is not None:
                # whoever records goes on without
                raise
            raise_lost(self._group, str(error))
        raise_lost(self._group, self._trouble or ABORTED)

    def check(self) -> None:
        """Waits for nothing. Raises LostRankError if a rank is known to be lost, or NCCL has failed while it ran."""
        self._group.check()
        self._look()
        if self._is_aborted:
            raise_lost(self._group, self._trouble or ABORTED)

    def _look(self) -> None:
        """Asks NCCL whether it has failed, and ends the run if so. From any thread."""
        with self._calling:
            if self._trouble is None and not self._is_over:
                try:
                    with _in_words():
                        self._communicator.check_async_error()
                except RuntimeError as error:
                    self._trouble = str(error)
        if self._trouble is None:
            return
        try:
            raise_lost(self._group, self._trouble)
        except LostRankError as error:
            # before kernels end, and leave what is no sum
            self._group.fail(str(error))
        self.abort()

    @property
    def _is_over(self) -> bool:
        return self._is_aborted or self._is_closed

    def everywhere(self, trouble: str | None) -> str | None:
        """All ranks say what went wrong at theirs, None for nothing; the first that there is, with its rank."""
        for rank, other in enumerate(self._group.gather(trouble)):
            if other is not None:
                return f"at rank {rank}: {other}"
        return None

    def abort(self) -> None:
        """From any thread; returns at once. Kernels that wait for another rank end, those of graphs, too.

        In a thread of its own: NCCL first tells its kernels to end, and then waits until all graphs are gone
        (ncclCommAbort, commDestroySync), which the caller may be needed for. A second one does nothing.
        """
        if self._ending.acquire(blocking=False):
            self._is_aborted = True
            threading.Thread(target=self._abort, name="ttfs_cupy_abort", daemon=True).start()

    def _abort(self) -> None:
        # no call begins any more
        if self._calling.acquire(timeout=CALL):
            self._calling.release()
        self._communicator.abort()

    def close(self) -> None:
        """Once all work is done, at all ranks. Where there still are graphs with its calls, which NCCL would wait for,
        the communicator is left to the process's end."""
        if self._is_aborted:
            return
        self._device.synchronize()
        with self._calling:
            # others may end before this one: what NCCL says of that is no failure
            self._is_closed = True
            if not self._graphs and self._ending.acquire(blocking=False):
                self._communicator.destroy()


def _look_on(of: "weakref.ref[NcclWire]") -> None:
    """Looks whether the wire's NCCL has failed, until that is given up."""
    while True:
        time.sleep(LOOK)
        wire = of()
        if wire is None or wire._is_over:
            return
        wire._look()
        del wire


@contextmanager
def _in_words() -> Iterator[None]:
    """Around calls of NCCL, whose errors are RuntimeErrors: CuPy 14 has no names for the newest ones."""
    try:
        yield
    except KeyError as error:
        raise RuntimeError(f"NCCL's error {error}, which CuPy has no words for") from error


def _dotted(version: int) -> str:
    """2.30.7 for 23007, as nccl.h has it from 2.9 on, and 2.8.4 for 2804, as it had it before."""
    if version < 10000:
        return f"{version // 1000}.{version % 1000 // 100}.{version % 100}"
    return f"{version // 10000}.{version % 10000 // 100}.{version % 100}"
