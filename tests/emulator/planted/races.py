"""Threads that race, and asynchronous copies that nobody waits for."""

from emulator.planted.bug import Bug

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
}
