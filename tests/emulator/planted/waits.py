"""Barriers, shuffles and locks that not all reach, and sums of several blocks."""

from emulator.planted.bug import Bug

# What concerns several blocks
OF_BLOCKS = {"threads": 32, "floats": 160, "says": "with no fence, atomic and fence in between", "blocks": 2}

BUGS = {
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
