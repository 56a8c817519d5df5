"""A GPU made of NumPy: CuPy's functions as far as the engine uses them, over memory and streams that are watched.

Kernels are the engine's own, as built for the CPU. Work is not done when it is enqueued: each stream has a queue, and
runs only as far as somebody waits for it. So what lacks an event to wait for finds old values, or has its values
overwritten, every time and not just on a bad day. A `Machine` keeps a log of all that the host asked for;
`device_of(machine)` is the engine's own CudaDevice on it.

In a capture it refuses what CuPy 14.2 and CUDA refuse there, and more: whatever would run once instead of in the graph.

- cuBLAS by CuPy's wrappers (matmul, dot, tensordot, cupy.cublas): cublas.setStream raises NotImplementedError. By a
  handle of one's own cuBLAS can be captured; without a workspace it would allocate inside the graph.
- ndarray.get, .item, bool, float, int of an array, comparisons of all: a copy to the host waits for the stream.
- Stream.synchronize, Device.synchronize, waiting for an event; allocating pinned memory.
- ndarray.set, asarray of a host's array: from memory that is not pinned they wait, from pinned memory they would freeze
  the address of what is copied.
- Allocating device memory, and so every expression that makes an array: from the common pool, others would be given the
  same memory while the graph still writes to it. From an allocator of the capture's own it is allowed, as in CuPy.
- Launches, expressions and products in another stream than the captured one, the default stream among them: CUDA lets
  those of a non-blocking stream pass, and they are then not part of the graph.
- A stream that waits for an event of the captured one is captured, too, and has to be joined (captures.py).

A graph refuses to run when an array that it was captured with is gone. Of cuBLAS there are the C functions that the
engine calls, with the C types of NVIDIA's header (cublas.py).
"""

from cuda_stand_in.captures import Entry
from cuda_stand_in.library import Array, device_of
from cuda_stand_in.machine import Event, Machine, Stream

# What the host asks for that makes it wait, or that takes memory: nothing of it belongs in a step that is replayed.
FORBIDDEN_IN_A_STEP = ("allocate", "expression", "pageable copy", "copy to host", "synchronize stream")

__all__ = ["FORBIDDEN_IN_A_STEP", "Array", "Entry", "Event", "Machine", "Stream", "device_of"]
