"""Reads of what nobody wrote, and accesses beyond, across or without an array."""

from emulator.planted.bug import Bug

BUGS = {
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
}
