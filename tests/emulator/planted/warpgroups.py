"""Kernels with a planted bug each in the products of a warpgroup, and what the emulator says of it."""

from emulator.planted.bug import Bug

# Of a right kernel, in this order; a bug leaves a part out, or has another in its place.
WRITE = """
    unsigned* words = (unsigned*)dynamic_shared;
    for (int k = i; k < 512; k += 128) words[k] = 0x3c003c00u;
"""
SHOW = """
    show_products();
"""
BARRIER = """
    __syncthreads();
"""
OPERANDS = """
    float sum[GROUP_SUMS] = {};
    unsigned a[4] = {0x3c003c00u, 0x3c003c00u, 0x3c003c00u, 0x3c003c00u};
    const unsigned long long b = right_factor(dynamic_shared, 1024, 128);
"""
READY = WRITE + SHOW + BARRIER + OPERANDS
BEGIN = """
    begin_products();
"""
MULTIPLY = """
    multiply_group(sum, a, b, false);
"""
MULTIPLY_HERE = """
    multiply_group(sum, a, b, false); // here
"""
END = """
    end_product_group();
"""
AWAIT = """
    await_product_groups<0>();
"""
OUT = """
    out[i] = sum[0];
"""
REST = BEGIN + MULTIPLY_HERE + END + AWAIT + OUT
COPY = """
    copy_async(dynamic_shared + i, in + 4 * (i % 32), true);
    end_copy_group();
"""
AWAIT_COPY = """
    await_copy_groups<0>();
"""

RIGHT = READY + REST


def bug(error: str, body: str, says: str = "", threads: int = 128, shared_bytes: int = 2048) -> Bug:
    return Bug(error, body, threads=threads, shared_bytes=shared_bytes, floats=128, says=says)


BUGS = {
    "a right factor that is not shown": bug(
        "MissingProxyFence", WRITE + BARRIER + OPERANDS + REST, "multiplies by byte"
    ),
    "a right factor that is shown before it is written": bug(
        "MissingProxyFence", SHOW + WRITE + BARRIER + OPERANDS + REST
    ),
    "a right factor that is shown after the barrier": bug(
        "MissingProxyFence", WRITE + BARRIER + SHOW + OPERANDS + REST
    ),
    "a right factor that only some show": bug(
        "MissingProxyFence",
        WRITE
        + """
    if (i != 77) show_products();
"""
        + BARRIER
        + OPERANDS
        + REST,
        "which thread 77 wrote",
    ),
    "a copy that is shown before it is awaited": bug(
        "MissingProxyFence", COPY + SHOW + AWAIT_COPY + BARRIER + OPERANDS + REST
    ),
    "a copy that is multiplied by before it is awaited": bug(
        "SharedMemoryRace", COPY + SHOW + BARRIER + OPERANDS + REST + AWAIT_COPY, "still copying"
    ),
    "no barrier before the products": bug(
        "SharedMemoryRace", WRITE.replace("u;", "u; // or here") + SHOW + OPERANDS + REST
    ),
    "a right factor that is written while a product reads it": bug(
        "SharedMemoryRace",
        READY
        + BEGIN
        + MULTIPLY_HERE
        + END
        + BARRIER
        + """
    if (i < 3) words[7 * i] = 0; // or here
"""
        + AWAIT
        + OUT,
    ),
    "a right factor that is written while a product reads it, behind two barriers": bug(
        "SharedMemoryRace",
        READY
        + BEGIN
        + MULTIPLY_HERE
        + END
        + BARRIER
        + """
    if (i == 127) words[511] = 0; // or here
"""
        + BARRIER
        + AWAIT
        + OUT,
        "wrote before the product that reads it was awaited",
    ),
    "a right factor that is written with no barrier after the wait": bug(
        "SharedMemoryRace",
        RIGHT
        + """
    words[i] = 0; // or here
""",
    ),
    "a copy to what a product reads": bug(
        "SharedMemoryRace",
        READY
        + BEGIN
        + MULTIPLY_HERE
        + END
        + BARRIER
        + """
    copy_async(dynamic_shared + i, in + 4 * (i % 32), true); // or here
    end_copy_group();
"""
        + AWAIT
        + OUT
        + AWAIT_COPY,
    ),
    "a wait for all groups but the last": bug(
        "SharedMemoryRace",
        READY
        + BEGIN
        + MULTIPLY_HERE
        + END
        + """
    await_product_groups<1>();
    __syncthreads();
    words[i] = 0; // or here
    __syncthreads();
    await_product_groups<0>();
""",
    ),
    "a right factor that nobody wrote": bug(
        "UninitialisedRead", SHOW + BARRIER + OPERANDS + REST, "of dynamic shared memory, which nobody wrote"
    ),
    "sums that are read before they are awaited": bug(
        "RegistersInFlight",
        READY
        + BEGIN
        + MULTIPLY
        + END
        + """
    out[i] = sum[0]; // here
"""
        + AWAIT,
        "reads what the product at planted.cu:",
    ),
    "sums that are written before they are awaited": bug(
        "RegistersInFlight",
        READY
        + BEGIN
        + MULTIPLY
        + END
        + """
    sum[31] = 0.0f; // here
"""
        + AWAIT
        + OUT,
    ),
    "sums of the group that is still pending": bug(
        "RegistersInFlight",
        READY
        + """
    float other[GROUP_SUMS] = {};
    begin_products();
    multiply_group(sum, a, b, false);
    end_product_group();
    multiply_group(other, a, b, false);
    end_product_group();
    await_product_groups<1>();
    out[i] = sum[0];
    out[i] += other[i % 32]; // here
"""
        + AWAIT,
    ),
    "a left factor that is changed before the product is awaited": bug(
        "RegistersInFlight",
        READY
        + BEGIN
        + MULTIPLY
        + END
        + """
    a[3] = 0; // here
"""
        + AWAIT
        + OUT,
        "writes what the product at planted.cu:",
    ),
    "products with no fence": bug("MissingFence", READY + MULTIPLY_HERE + END + AWAIT + OUT),
    "products with no fence since the last wait": bug(
        "MissingFence", READY + BEGIN + MULTIPLY + END + AWAIT + MULTIPLY_HERE + END + AWAIT + OUT
    ),
    "a left factor that is written after the fence": bug(
        "MissingFence",
        READY
        + BEGIN
        + """
    a[i % 4] = 0;
"""
        + MULTIPLY_HERE
        + END
        + AWAIT
        + OUT,
        "left factor was written",
    ),
    "sums that are read after the fence": bug(
        "MissingFence",
        READY
        + BEGIN
        + """
    out[i] = sum[i % 32];
"""
        + MULTIPLY_HERE
        + END
        + AWAIT,
        "sums were accessed",
    ),
    "products that nobody awaits": bug("PendingProducts", READY + BEGIN + MULTIPLY_HERE + END),
    "products of a group that does not end": bug("PendingProducts", READY + BEGIN + MULTIPLY_HERE + AWAIT),
    "a warp that takes no part": bug(
        "BarrierDivergence",
        READY
        + """
    if (i < 96) {
        begin_products(); // here
        multiply_group(sum, a, b, false);
        end_product_group();
        await_product_groups<0>();
    }
"""
        + OUT,
        "multiply differently often",
    ),
    "a warp that multiplies once less": bug(
        "BarrierDivergence",
        READY
        + """
    begin_products();
    multiply_group(sum, a, b, false);
    if (i / 32 != 1) multiply_group(sum, a, b, false); // here
    end_product_group(); // or here
"""
        + AWAIT
        + OUT,
        "multiply differently",
    ),
    "a warp with another right factor": bug(
        "BarrierDivergence",
        READY
        + BEGIN
        + """
    multiply_group(sum, a, i < 64 ? b : right_factor(dynamic_shared, 128, 256), false); // here
"""
        + END
        + AWAIT
        + OUT,
        "other operands",
    ),
    "a lane with another right factor": bug(
        "BarrierDivergence",
        READY
        + BEGIN
        + """
    multiply_group(sum, a, i % 32 ? b : right_factor(dynamic_shared, 128, 256), false); // here
"""
        + END
        + AWAIT
        + OUT,
        "other operands than those of lane",
    ),
    "products by part of a warp": bug(
        "BarrierDivergence",
        READY
        + """
    if (i == 70) return;
    begin_products(); // here
"""
        + MULTIPLY
        + END
        + AWAIT
        + OUT,
    ),
    "products by half a warpgroup": bug(
        "BarrierDivergence",
        READY.replace("128)", "64)")
        + """
    begin_products(); // here
"""
        + MULTIPLY
        + END
        + AWAIT
        + OUT,
        "not whole warpgroups",
        threads=64,
    ),
    "a right factor beyond shared memory": bug("OutOfBounds", READY + REST.replace("b,", "b + 1,"), "at byte 1936 of"),
    "a right factor before shared memory": bug(
        "OutOfBounds",
        READY
        + """
    const unsigned long long before = right_factor(dynamic_shared - 1, 1024, 128); // here
    multiply_group(sum, a, before, false);
""",
    ),
    "a right factor in static shared memory": bug(
        "OutOfBounds",
        """
    __shared__ unsigned values[512];
    const unsigned long long b = right_factor(values, 1024, 128); // here
    out[i] = (float)b;
""",
    ),
    "a misaligned right factor": bug(
        "Misaligned",
        READY
        + """
    const unsigned long long between = right_factor(words + 2, 1024, 128); // here
    multiply_group(sum, a, between, false);
""",
    ),
    "a misaligned stride": bug(
        "Misaligned",
        READY
        + """
    const unsigned long long dense = right_factor(words, 1024, 120); // here
    multiply_group(sum, a, dense, false);
""",
        "not multiples of 16",
    ),
}
