"""Runs cooperative CUDA kernels on the CPU, unchanged, and finds what is wrong with them.

    kernel = Emulator(text, constants={"TILE": 64}, file_name="product.cu")
    report = kernel.launch("product", (4, 4, 1), 128, 16384, a, b, out, n, seed=3)

Every thread of a block is a fiber; barriers, a warp's collectives, asynchronous copies and tensor cores, also those of
a whole warpgroup (wgmma), are as CUDA defines them. g++ compiles a kernel with the instrumentation of its thread
sanitizer, which reports each access to memory to the emulator's own runtime (the folder of that name). A KernelError is
named BarrierDivergence, SharedMemoryRace, GlobalMemoryRace (a block reads what another wrote, with no fence, atomic and
fence in between), UninitialisedRead, OutOfBounds, ReadOnlyWrite, Misaligned, PendingCopies or Trap; of the products of
warpgroups also RegistersInFlight (sums or a left factor touched before they are awaited), MissingFence (wgmma.fence),
MissingProxyFence (fence.proxy.async, by who wrote the right factor) or PendingProducts.

What it does not see:
- other races in global memory: between threads of a block, or where a block writes what another reads or writes; blocks
  run one after another, so none can wait for a later one;
- a step beyond an array that a thread has for itself;
- that an atomic orders other accesses: what a lock in shared memory protects is a race;
- a few of the races that a barrier or a sync of only some threads leaves (another seed finds most);
- the sectors of global memory that atomics and asynchronous copies fetch;
- the bank conflicts of what warpgroups multiply by; nor does it count these reads;
- a GPU's arithmetic where it differs from a CPU's: sums fused with products, subnormal numbers flushed to zero, and the
  bits that tensor cores drop before they add.

Of the products of warpgroups it asks for more than CUDA does: a fence after each wait, whatever was done to registers;
that a left factor stays in scope until it is awaited, or its place on the stack may change; and that who writes a right
factor shows it (show_products), not who reads it.
"""

from emulator.build import BuildError, why_not
from emulator.launch import Emulator
from emulator.report import BankUse, KernelError, Report, SectorUse

__all__ = ["BankUse", "BuildError", "Emulator", "KernelError", "Report", "SectorUse", "why_not"]
