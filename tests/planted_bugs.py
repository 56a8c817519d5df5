"""Kernels with a planted bug each, and what the emulator says of it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Bug:
    """A kernel `wrong(const float* in, float* out)`, and how it is launched: both arrays have as many floats.

    The error is on the line that ends with "// here", or on that with "// or here", the other of two that race.
    """

    error: str
    body: str
    threads: int = 64
    shared_bytes: int = 256
    floats: int = 64
    says: str = ""
    blocks: int = 1

    @property
    def lines(self):
        return [number for number, line in enumerate(self.text.splitlines(), start=1) if line.endswith("here")]

    @property
    def text(self):
        return f"KERNEL void wrong(const float* in, float* out) {{\n    const int i = threadIdx.x;{self.body}}}\n"


# What concerns several blocks
OF_BLOCKS = {"threads": 32, "floats": 160, "says": "with no fence, atomic and fence in between", "blocks": 2}

BUGS = {
    "a missing barrier": Bug(
        "SharedMemoryRace",
        """
    float* shared = (float*)dynamic_shared;
    shared[i] = in[i]; // here
    out[i] = shared[63 - i]; // or here
""",
    ),
    "a missing barrier before the next write": Bug(
        "SharedMemoryRace",
        """
    __shared__ float values[64];
    values[i] = in[i];
    __syncthreads();
    const float other = values[(i + 1) % 64]; // here
    values[i] = 2.0f * other; // or here
    __syncthreads();
    out[i] = values[i];
""",
        says="which thread",
    ),
    "a sync of the warp where the block's is needed": Bug(
        "SharedMemoryRace",
        """
    __shared__ float values[64];
    values[i] = in[i]; // here
    __syncwarp();
    out[i] = values[63 - i]; // or here
""",
    ),
    "a shuffle is no sync": Bug(
        "SharedMemoryRace",
        """
    __shared__ float values[64];
    values[i] = in[i]; // here
    const int lane = __shfl_sync(0xffffffffu, i, 0) + 31 - i % 32;
    out[i] = values[lane]; // or here
""",
    ),
    "two writers of one byte": Bug(
        "SharedMemoryRace",
        """
    __shared__ unsigned char flags[64];
    flags[i / 2] = 1; // here
    __syncthreads();
    out[i] = flags[i / 2];
""",
    ),
    "an atomic and a plain write": Bug(
        "SharedMemoryRace",
        """
    __shared__ int count;
    if (i == 0) count = 0;
    __syncthreads();
    atomicAdd(&count, 1); // here
    if (i > 0) out[i] = 0.0f;
    else out[i] = count; // or here
""",
    ),
    "a named barrier for others": Bug(
        "SharedMemoryRace",
        """
    __shared__ float values[96];
    values[i] = in[i]; // here
    if (i < 64) named_barrier(1, 64);
    if (i < 32) out[i] = values[i + 64]; // or here
""",
        threads=96,
        floats=96,
    ),
    "a copy that is read before it is awaited": Bug(
        "SharedMemoryRace",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true);
    end_copy_group();
    __syncthreads();
    out[i] = dynamic_shared[i].x; // here
    await_copy_groups<0>();
""",
        threads=16,
        says="still copying",
    ),
    "a copy of a group that is not awaited": Bug(
        "SharedMemoryRace",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true);
    end_copy_group();
    await_copy_groups<1>();
    out[i] = dynamic_shared[i].x; // here
    await_copy_groups<0>();
""",
        threads=16,
        says="still copying",
    ),
    "no barrier after the wait": Bug(
        "SharedMemoryRace",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true); // here
    end_copy_group();
    await_copy_groups<0>();
    out[i] = dynamic_shared[15 - i].x; // or here
""",
        threads=16,
    ),
    "a copy to what others still read": Bug(
        "SharedMemoryRace",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true);
    end_copy_group();
    await_copy_groups<0>();
    __syncthreads();
    out[i] = dynamic_shared[15 - i].x; // here
    copy_async(&dynamic_shared[i], in + 4 * i, true); // or here
    end_copy_group();
    await_copy_groups<0>();
""",
        threads=16,
    ),
    "a copy that nobody awaits": Bug(
        "PendingCopies",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true); // here
    end_copy_group();
""",
        threads=16,
    ),
    "static shared memory that nobody wrote": Bug(
        "UninitialisedRead",
        """
    __shared__ float values[64];
    if (i != 7) values[i] = in[i];
    __syncthreads();
    out[i] = values[63 - i]; // here
""",
        says="byte 28 of values",
    ),
    "dynamic shared memory that nobody wrote": Bug(
        "UninitialisedRead",
        """
    out[i] = dynamic_shared[i % 16].y; // here
""",
    ),
    "a read beyond an array": Bug(
        "OutOfBounds",
        """
    out[i] = in[i + 1]; // here
""",
        says="reads 4 bytes at byte 256 of in, which has 256",
    ),
    "a read before an array": Bug(
        "OutOfBounds",
        """
    out[i] = in[i - 1]; // here
""",
        says="byte -4 of in",
    ),
    "a write beyond an array": Bug(
        "OutOfBounds",
        """
    out[i + 1] = in[i]; // here
""",
        says="byte 256 of out",
    ),
    "a read beyond shared memory": Bug(
        "OutOfBounds",
        """
    float* shared = (float*)dynamic_shared;
    shared[i] = in[i];
    __syncthreads();
    out[i] = shared[i + 1]; // here
""",
        says="byte 256 of dynamic shared memory",
    ),
    "a write beyond shared memory": Bug(
        "OutOfBounds",
        """
    float* shared = (float*)dynamic_shared;
    shared[i + 1] = in[i]; // here
""",
    ),
    "a write beyond a static array": Bug(
        "OutOfBounds",
        """
    __shared__ float values[63];
    values[i] = in[i]; // here
    __syncthreads();
    out[i] = values[0];
""",
        says="byte 252 of values",
    ),
    "a read beyond a static array, before another": Bug(
        "OutOfBounds",
        """
    __shared__ float before[64], values[64], after[64];
    before[i] = values[i] = after[i] = in[i];
    __syncthreads();
    out[i] = before[i] + after[i] + values[i + 1]; // here
""",
        says="byte 256 of values, which has 256",
    ),
    "a null pointer": Bug(
        "OutOfBounds",
        """
    const float* nothing = in == out ? in : nullptr;
    out[i] = nothing[i]; // here
""",
        says="far from every array",
    ),
    "a copy from beyond an array": Bug(
        "OutOfBounds",
        """
    copy_async(&dynamic_shared[i], in + 4 * i, true); // here
    end_copy_group();
    await_copy_groups<0>();
""",
        threads=16,
        floats=60,
    ),
    "a write to a const array": Bug(
        "ReadOnlyWrite",
        """
    ((float*)in)[i] = 1.0f; // here
""",
        says="writes to in",
    ),
    "a misaligned float4": Bug(
        "Misaligned",
        """
    const float4 four = *(const float4*)(in + 2 * (i % 4)); // here
    out[i] = four.x + four.y + four.z + four.w;
""",
    ),
    "a misaligned float2": Bug(
        "Misaligned",
        """
    float* shared = (float*)dynamic_shared;
    *(float2*)(shared + 2 * i + 1) = make_float2(1.0f, 2.0f); // here
""",
        threads=8,
    ),
    "a misaligned copy": Bug(
        "Misaligned",
        """
    copy_async(&dynamic_shared[i], in + 2 * i, true); // here
    end_copy_group();
    await_copy_groups<0>();
""",
        threads=16,
    ),
    "a barrier in a branch": Bug(
        "BarrierDivergence",
        """
    if (i < 40) __syncthreads(); // here
    out[i] = in[i];
    __syncthreads(); // or here
""",
    ),
    "two barriers for one": Bug(
        "BarrierDivergence",
        """
    if (i < 32) { __syncthreads(); } // here
    else __syncthreads(); // or here
    out[i] = in[i];
""",
    ),
    "a named barrier that too few reach": Bug(
        "BarrierDivergence",
        """
    if (i < 32) named_barrier(1, 64); // here
    out[i] = in[i];
""",
        says="no progress: 32 threads wait here",
    ),
    "a named barrier for part of a warp": Bug(
        "BarrierDivergence",
        """
    if (i % 2 == 0) named_barrier(1, 32); // here
    out[i] = in[i];
    __syncthreads();
""",
    ),
    "a shuffle that some lanes do not reach": Bug(
        "BarrierDivergence",
        """
    float value = in[i];
    if (i % 32 < 20) value += __shfl_xor_sync(0xffffffffu, value, 1); // here
    __syncthreads();
    out[i] = value;
""",
    ),
    "a lane that is not in its mask": Bug(
        "BarrierDivergence",
        """
    out[i] = __shfl_sync(0x0000ffffu, in[i], 0); // here
""",
    ),
    "a ballot and a shuffle": Bug(
        "BarrierDivergence",
        """
    unsigned found;
    if (i % 32 < 20) found = __ballot_sync(0xffffffffu, in[i] > 0.0f); // here
    else found = __shfl_sync(0xffffffffu, i, 0); // or here
    out[i] = (float)found;
""",
    ),
    "a product by part of a warp": Bug(
        "BarrierDivergence",
        """
    if (i % 32 == 31) return;
    float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const unsigned zeros[4] = {0, 0, 0, 0};
    multiply_tf32(sum, zeros, 0, 0); // here
    out[i] = sum[0];
""",
    ),
    "a lock that nobody opens": Bug(
        "BarrierDivergence",
        """
    __shared__ int lock;
    if (i == 0) lock = 1;
    __syncthreads();
    while (atomicCAS(&lock, 0, 1)) {} // here
    out[i] = in[i];
""",
        threads=2,
        says="no progress",
    ),
    "a lock on which a thread only looks": Bug(
        "BarrierDivergence",
        """
    volatile float* last = out + 63;
    while (i == 0 && *last == 0.0f) {} // here
    __syncthreads();
    out[i] = in[i];
""",
        threads=2,
        says="no progress",
    ),
    "a sum of blocks without a fence before": Bug(
        "GlobalMemoryRace",
        """
    out[64 + 32 * blockIdx.x + i] = in[i]; // or here
    __syncthreads();
    if (!__syncthreads_or(i == 0 && atomicAdd((int*)out, 1) == 1)) return;
    __threadfence();
    out[128 + i] = out[64 + i] + out[96 + i]; // here
""",
        **OF_BLOCKS,
    ),
    "a sum of blocks whose threads are not awaited": Bug(
        "GlobalMemoryRace",
        """
    out[64 + 32 * blockIdx.x + i] = in[i]; // or here
    __threadfence();
    if (!__syncthreads_or(i == 0 && atomicAdd((int*)out, 1) == 1)) return;
    __threadfence();
    out[128 + i] = out[64 + i] + out[96 + i]; // here
""",
        **OF_BLOCKS,
    ),
    "a sum of blocks without a fence behind": Bug(
        "GlobalMemoryRace",
        """
    out[64 + 32 * blockIdx.x + i] = in[i]; // or here
    __threadfence();
    __syncthreads();
    if (!__syncthreads_or(i == 0 && atomicAdd((int*)out, 1) == 1)) return;
    out[128 + i] = out[64 + i] + out[96 + i]; // here
""",
        **OF_BLOCKS,
    ),
    "a sum of blocks that count by different words": Bug(
        "GlobalMemoryRace",
        """
    out[64 + 32 * blockIdx.x + i] = in[i]; // or here
    __threadfence();
    __syncthreads();
    if (i == 0) atomicAdd((int*)out + blockIdx.x, 1);
    __syncthreads();
    __threadfence();
    out[128 + i] = out[64 + i] + out[96 + i]; // here
""",
        **OF_BLOCKS,
    ),
    "a trap": Bug(
        "Trap",
        """
    if (in[i] == 5.0f) __trap(); // here
""",
    ),
}
