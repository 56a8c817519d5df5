"""A GPU made of NumPy: CuPy's functions as far as the engine uses them, over memory and streams that are watched.

Kernels are the engine's own, as built for the CPU. Work is not done when it is enqueued: each stream has a queue, and
runs only as far as somebody waits for it. So what lacks an event to wait for finds old values, or has its values
overwritten, every time and not just on a bad day. A `Machine` keeps a log of all that the host asked for;
`device_of(machine)` is the engine's own CudaDevice on it.

It is stricter than CUDA where that costs nothing: a capture refuses everything but launches, matrix products and
memory from a pool of its own, and a graph refuses to run when an array that it was captured with is gone.
"""

from cuda_stand_in.library import Array, device_of
from cuda_stand_in.machine import Entry, Event, Machine, Stream

# What the host asks for that makes it wait, or that takes memory: nothing of it belongs in a step that is replayed.
FORBIDDEN_IN_A_STEP = ("allocate", "expression", "pageable copy", "copy to host", "synchronize stream")

__all__ = ["FORBIDDEN_IN_A_STEP", "Array", "Entry", "Event", "Machine", "Stream", "device_of"]
