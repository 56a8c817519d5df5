"""What a GPU's multiprocessor has room for, and how many blocks of a kernel fit into one at a time (occupancy)."""

from dataclasses import dataclass

WARP = 32

# Registers are given to a warp in units, and a block's shared memory comes with some of the driver's own
# (CUDA programming guide, "Compute Capabilities"; the same for 7.5 to 12.0).
REGISTER_UNIT = 256
SHARED_UNIT = 128
DRIVERS_SHARED_BYTES = 1024


@dataclass(frozen=True)
class GpuRates:
    """Of one multiprocessor, a clock. half, tf32: multiply-adds by mma.sync, of halves (summed in float32) and in TF32.
    l2_bytes: that come from the L2. group_half: multiply-adds of halves by wgmma, 0 where there is none."""

    half: float
    tf32: float
    l2_bytes: float
    group_half: float = 0


@dataclass(frozen=True)
class GpuLimits:
    """Of one GPU. Bytes of shared memory: of a multiprocessor, and the most that one block may have."""

    capability: tuple[int, int]
    multiprocessors: int
    registers: int
    threads: int
    blocks: int
    shared_bytes: int
    block_shared_bytes: int

    @property
    def has_tensor_cores(self) -> bool:
        """Whether it has what kernels/cooperative/warp.h needs: TF32 and asynchronous copies."""
        return self.capability >= (8, 0)

    @property
    def has_warpgroups(self) -> bool:
        """Whether it has what kernels/cooperative/tensorcore/warpgroup.h needs, which no newer GPU has either."""
        return self.capability == (9, 0)

    @property
    def rates(self) -> GpuRates:
        """Of a newer GPU than those listed, those of the newest listed before it."""
        return _RATES[max((known for known in _RATES if known <= self.capability), default=min(_RATES))]

    def resident_blocks(self, threads: int, registers: int, shared_bytes: int) -> int:
        """Blocks that a multiprocessor runs at a time; 0 if not even one fits. registers: of a thread."""
        if threads > 1024 or shared_bytes > self.block_shared_bytes:
            return 0
        warps = -(-threads // WARP)
        of_warp = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
        drivers = DRIVERS_SHARED_BYTES if self.capability >= (8, 0) else 0
        of_block = -(-(shared_bytes + drivers) // SHARED_UNIT) * SHARED_UNIT
        return min(
            self.blocks,
            self.threads // (warps * WARP),
            self.registers // (of_warp * warps),
            self.shared_bytes // of_block if of_block else self.blocks,
        )


def of_capability(capability: tuple[int, int], multiprocessors: int) -> GpuLimits:
    """What NVIDIA says of a compute capability (CUDA programming guide, "Technical Specifications per Compute
    Capability"), for GPUs that are not at hand. Raises KeyError for one that is not listed."""
    threads, blocks, shared_kib, block_kib = _OF_CAPABILITY[capability]
    return GpuLimits(capability, multiprocessors, 65536, threads, blocks, shared_kib << 10, block_kib << 10)


# Threads, blocks, KiB of shared memory of a multiprocessor, and KiB of one block.
_OF_CAPABILITY = {
    (7, 5): (1024, 16, 64, 64),
    (8, 0): (2048, 32, 164, 163),
    (8, 6): (1536, 16, 100, 99),
    (8, 9): (1536, 24, 100, 99),
    (9, 0): (2048, 32, 228, 227),
    (10, 0): (2048, 32, 228, 227),
    (12, 0): (1536, 24, 100, 99),
}

# From data sheets (NVIDIA's of T4, A100, H100, B200 and GeForce), at the clock that they are given for. Estimates: the
# bytes, and that mma.sync reaches 0.62 of what wgmma does on 9.0, whose rate stands for 10.0, too.
_RATES = {
    (7, 5): GpuRates(512, 0, 20),
    (8, 0): GpuRates(1024, 512, 29.5),
    (8, 6): GpuRates(256, 128, 18),
    (8, 9): GpuRates(256, 128, 15.5),
    (9, 0): GpuRates(1270, 635, 23.6, group_half=2048),
    (12, 0): GpuRates(256, 128, 15.5),
}
