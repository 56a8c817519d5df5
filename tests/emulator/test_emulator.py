"""The emulator runs cooperative kernels as CUDA would."""

import numpy as np
import pytest

import emulator
from emulator import Emulator

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))

SEEDS = range(20)

KERNELS = """
KERNEL void __launch_bounds__(256, 1)
block_totals(const float* __restrict__ values, float* __restrict__ totals, int n) {
    __shared__ float of_warp[8];
    float total = 0.0f;
    GRID_LOOP(i, n) total += values[i];
    #pragma unroll
    for (int step = WARP / 2; step; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    if (threadIdx.x % WARP == 0) of_warp[threadIdx.x / WARP] = total;
    __syncthreads();
    if (threadIdx.x < WARP) {
        total = threadIdx.x < 8 ? of_warp[threadIdx.x] : 0.0f;
        for (int step = 4; step; step /= 2) total += __shfl_down_sync(0xffffffffu, total, step);
        if (threadIdx.x == 0) totals[blockIdx.x] = total;
    }
}

// out[i] = in[n - 1 - i] of each block's n, through the launch's shared memory
KERNEL void reverse(const float* __restrict__ in, float* __restrict__ out) {
    float* mine = (float*)dynamic_shared;
    const int first = blockIdx.x * blockDim.x, n = blockDim.x;
    mine[threadIdx.x] = in[first + threadIdx.x];
    __syncthreads();
    out[first + threadIdx.x] = mine[n - 1 - threadIdx.x];
}

// Strips of 4 threads' columns, the next strip on its way while this one is used.
KERNEL void column_totals(const float* __restrict__ in, float* __restrict__ totals, int strips, int last_rows) {
    const int thread = threadIdx.x, threads = blockDim.x;
    float total[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    const bool only = strips == 1;
    copy_async(dynamic_shared + thread, in + 4 * thread, !only || thread < last_rows);
    end_copy_group();
    for (int strip = 0; strip < strips; ++strip) {
        const int next = strip + 1;
        if (next < strips) {
            const bool there = next < strips - 1 || thread < last_rows;
            const float* from = there ? in + (next * threads + thread) * 4 : in;
            copy_async(dynamic_shared + next % 2 * threads + thread, from, there);
        }
        end_copy_group();
        await_copy_groups<1>();
        __syncthreads();
        const float4 other = dynamic_shared[strip % 2 * threads + (thread + 1) % threads];
        total[0] += other.x, total[1] += other.y, total[2] += other.z, total[3] += other.w;
        __syncthreads();
    }
    for (int i = 0; i < 4; ++i) totals[thread * 4 + i] = total[i];
}

KERNEL void votes(const int* __restrict__ values, int* __restrict__ found) {
    const int value = values[threadIdx.x], lane = threadIdx.x % WARP;
    int* mine = found + threadIdx.x * 10;
    mine[0] = __syncthreads_count(value > 0);
    mine[1] = __syncthreads_or(value > 100);
    mine[2] = __syncthreads_and(value > -100);
    mine[3] = (int)__ballot_sync(0xffffffffu, value > 0);
    mine[4] = __any_sync(0xffffffffu, value == 7);
    mine[5] = __all_sync(0xffffffffu, value < 50);
    // the two halves of a warp, on their own
    const unsigned half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
    if (lane < 16) mine[6] = __popc(__ballot_sync(half, value > 0));
    else mine[6] = -__popc(__ballot_sync(half, value > 0));
    mine[7] = __shfl_sync(0xffffffffu, value, 3, 8);
    mine[8] = __shfl_up_sync(0xffffffffu, value, 1);
    mine[9] = __shfl_down_sync(0xffffffffu, value, 2, 4);
}

// Numbers of 8 bytes, too.
KERNEL void wide_shuffles(const double* __restrict__ numbers, const long long* __restrict__ counts,
                          double* __restrict__ totals, long long* __restrict__ next) {
    double total = numbers[threadIdx.x];
    for (int step = WARP / 2; step; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    totals[threadIdx.x] = total;
    next[threadIdx.x] = __shfl_down_sync(0xffffffffu, counts[threadIdx.x], 1);
}

// The block that comes last adds up what all have left.
KERNEL void grid_total(const int* __restrict__ values, int* __restrict__ partial, int* __restrict__ done,
                       int* __restrict__ total, int n) {
    __shared__ int of_block, is_last;
    if (threadIdx.x == 0) of_block = 0;
    __syncthreads();
    int mine = 0;
    GRID_LOOP(i, n) mine += values[i];
    atomicAdd(&of_block, mine);
    __syncthreads();
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = of_block;
        __threadfence();
        is_last = atomicAdd(done, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (is_last && threadIdx.x == 0) {
        __threadfence();
        int sum = 0;
        for (int i = 0; i < (int)gridDim.x; ++i) sum += partial[i];
        *total = sum;
    }
}

KERNEL void atomics(int* __restrict__ words) {
    const int i = threadIdx.x;
    atomicMax(&words[0], i * 7 % 64 - 100);
    atomicMax((unsigned*)&words[1], (unsigned)i);
    if (atomicCAS(&words[2], 5, 6) == 5) words[3] = 1;
    atomicExch(&words[4], i);
    // a lock: each thread gets it in the end
    while (atomicCAS(&words[5], 0, 1) != 0) {}
    __threadfence();
    words[6] += 1;
    __threadfence();
    atomicExch(&words[5], 0);
}

// Half of the block produces what the other half consumes, in two buffers: when one is full, the other is free.
KERNEL void pipeline(const float* __restrict__ in, float* __restrict__ out, int steps) {
    float* buffers = (float*)dynamic_shared;
    const int half = blockDim.x / 2, i = threadIdx.x % half;
    if (threadIdx.x < half) {
        for (int step = 0; step < steps; ++step) {
            buffers[step % 2 * half + i] = in[step * half + i];
            named_barrier(1 + step % 2, 2 * half);
        }
    } else {
        for (int step = 0; step < steps; ++step) {
            named_barrier(1 + step % 2, 2 * half);
            out[step * half + i] = 2.0f * buffers[step % 2 * half + (i + 33) % half];
        }
    }
}

// Each warp on its own, ordered by its syncs alone.
KERNEL void rotate_in_warps(const float* __restrict__ in, float* __restrict__ out, int times) {
    __shared__ float rows[64];
    float* row = rows + threadIdx.x / WARP * WARP;
    const int lane = threadIdx.x % WARP;
    row[lane] = in[threadIdx.x];
    for (int time = 0; time < times; ++time) {
        __syncwarp();
        const float next = row[(lane + 1) % WARP];
        __syncwarp();
        row[lane] = next;
    }
    out[threadIdx.x] = row[lane];
}

// Each function's, and each instance's, static array is its own.
template <int n>
DEVICE float neighbour(float value) {
    __shared__ float values[n];
    values[threadIdx.x % n] = value;
    __syncthreads();
    return values[(threadIdx.x + 1) % n];
}
struct Exchange {
    template <int n>
    DEVICE float pair(float value) {
        __shared__ float2 values[n];
        values[threadIdx.x % n] = make_float2(value, -value);
        __syncthreads();
        return values[(threadIdx.x + 2) % n].y;
    }
};
KERNEL void neighbours(const float* __restrict__ in, float* __restrict__ out) {
    const int i = threadIdx.x;
    out[i] = 100.0f * neighbour<32>(in[i]) + Exchange::pair<32>(in[i]);
}

KERNEL void scaled(const float* __restrict__ OPTIONAL bias, float* __restrict__ out, float factor, long long shift,
                   double base) {
    out[blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z)] =
        factor * FACTOR + (bias ? __ldg(bias) : 0.0f) + (float)((double)shift + base);
}
"""


@pytest.fixture(scope="module")
def kernels():
    return Emulator(KERNELS, constants={"FACTOR": 3})


def test_a_block_reduction(kernels):
    values, totals = np.arange(1000, dtype=np.float32), np.zeros(3, np.float32)
    report = kernels.launch("block_totals", 3, 256, 0, values, totals, values.size)
    blocks = np.arange(1000) // 256 % 3
    assert totals.tolist() == [values[blocks == block].sum() for block in range(3)]
    assert report.barriers == 3
    assert report.shared_accesses == 3 * (8 + 8)
    assert report.global_accesses == values.size + 3


def test_dynamic_shared_memory(kernels):
    values, out = np.arange(96 * 5, dtype=np.float32), np.zeros(96 * 5, np.float32)
    kernels.launch("reverse", 5, 96, 96 * 4, values, out)
    assert np.array_equal(out.reshape(5, 96), values.reshape(5, 96)[:, ::-1])


@pytest.mark.parametrize("strips", [1, 2, 5])
def test_double_buffered_copies(kernels, strips):
    rows = (strips - 1) * 64 + 10
    values, totals = np.arange(rows * 4, dtype=np.float32).reshape(rows, 4), np.zeros((64, 4), np.float32)
    report = kernels.launch("column_totals", 1, 64, 2 * 64 * 16, values, totals, strips, 10)
    padded = np.zeros((strips * 64, 4), np.float32)
    padded[:rows] = values
    assert np.array_equal(totals, np.roll(padded.reshape(strips, 64, 4).sum(axis=0), -1, axis=0))
    assert report.copies == strips * 64


def test_votes_and_shuffles(kernels):
    values = np.random.default_rng(5).integers(-20, 60, 64).astype(np.int32)
    found = np.zeros((64, 10), np.int32)
    kernels.launch("votes", 1, 64, 0, values, found)
    warps = values.reshape(2, 32)
    bits = np.packbits(warps > 0, axis=1, bitorder="little").view(np.int32)[:, 0]
    halves = (values.reshape(4, 16) > 0).sum(axis=1) * [1, -1, 1, -1]
    lane = np.arange(64) % 32
    expected = {
        0: np.full(64, (values > 0).sum()),
        1: np.zeros(64),
        2: np.ones(64),
        3: bits.repeat(32),
        4: (warps == 7).any(axis=1).repeat(32),
        5: (warps < 50).all(axis=1).repeat(32),
        6: halves.repeat(16),
        7: values.reshape(8, 8)[:, 3].repeat(8),
        8: np.where(lane == 0, values, np.roll(values, 1)),
        9: np.where(lane % 4 < 2, np.roll(values, -2), values),
    }
    for column, wanted in expected.items():
        assert np.array_equal(found[:, column], wanted), column


def test_shuffles_of_8_bytes(kernels):
    random = np.random.default_rng(6)
    numbers, counts = random.integers(0, 2**50, 64) * 1.0, random.integers(-(2**62), 2**62, 64)
    totals, following = np.zeros(64), np.zeros(64, np.int64)
    kernels.launch("wide_shuffles", 1, 64, 0, numbers, counts, totals, following)
    assert np.array_equal(totals, numbers.reshape(2, 32).sum(axis=1).repeat(32))
    last = np.arange(64) % 32 == 31
    assert np.array_equal(following, np.where(last, counts, np.roll(counts, -1)))


def test_the_last_block_adds_up(kernels):
    values = np.arange(5000, dtype=np.int32)
    for seed in SEEDS:
        partial, done, total = np.zeros(7, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32)
        kernels.launch("grid_total", 7, 64, 0, values, partial, done, total, values.size, seed=seed)
        assert (done[0], total[0]) == (7, values.sum())


def test_atomics(kernels):
    words = np.array([-1000, 0, 5, 0, -1, 0, 0], np.int32)
    kernels.launch("atomics", 2, 64, 0, words)
    assert words.tolist()[:4] == [-37, 63, 6, 1]
    assert 0 <= words[4] < 64
    assert words.tolist()[5:] == [0, 128]


def test_producers_and_consumers(kernels):
    values, out = np.arange(7 * 64, dtype=np.float32).reshape(7, 64), np.zeros((7, 64), np.float32)
    for seed in SEEDS:
        kernels.launch("pipeline", 1, 128, 2 * 64 * 4, values, out, 7, seed=seed)
        assert np.array_equal(out, 2 * np.roll(values, -33, axis=1))


def test_syncs_of_a_warp(kernels):
    values, out = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)
    kernels.launch("rotate_in_warps", 1, 64, 0, values, out, 5)
    assert np.array_equal(out.reshape(2, 32), np.roll(values.reshape(2, 32), -5, axis=1))


def test_static_arrays_of_inlined_functions(kernels):
    values, out = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    # the same arrays in another library
    for library in (kernels, Emulator(KERNELS, constants={"FACTOR": 4})):
        report = library.launch("neighbours", 1, 32, 0, values, out)
        assert np.array_equal(out, 100 * np.roll(values, -1) - np.roll(values, -2))
        assert report.shared_accesses == 4 * 32


def test_arguments_constants_and_grid(kernels):
    out = np.zeros(24, np.float32)
    kernels.launch("scaled", (2, 3, 4), 1, 0, None, out, 1.5, 2**33, -(2.0**33))
    assert np.all(out == 4.5)
    kernels.launch("scaled", (2, 3, 4), 1, 0, np.ones(1, np.float32), out, 1.5, 0, 0.25)
    assert np.all(out == 5.75)
    with pytest.raises(TypeError, match="bias"):
        kernels.launch("scaled", 1, 1, 0, np.ones(1), out, 1.5, 0, 0.25)
    with pytest.raises(ValueError, match="threads"):
        kernels.launch("scaled", 1, 2000, 0, None, out, 1.5, 0, 0.25)


def test_the_seed_changes_the_order_but_no_result(kernels):
    values, last = np.random.default_rng(1).random(999, np.float32), set()
    totals = np.zeros((len(SEEDS), 4), np.float32)
    for seed in SEEDS:
        kernels.launch("block_totals", 4, 256, 0, values, totals[seed], values.size, seed=seed)
        words = np.zeros(7, np.int32)
        kernels.launch("atomics", 1, 64, 0, words, seed=seed)
        last.add(int(words[4]))
    assert np.all(totals == totals[0])
    assert len(last) > 5


def test_a_kernel_that_does_not_compile():
    with pytest.raises(emulator.BuildError, match=r"mine\.cu:2"):
        Emulator("KERNEL void wrong(int n) {\n    nothing(n);\n}", file_name="mine.cu")


def test_a_kernel_whose_local_arrays_are_too_large():
    text = "KERNEL void large(int* out) { volatile int many[20000]; many[out[0]] = 1; out[1] = many[out[2]]; }"
    with pytest.raises(emulator.BuildError, match="frame size"):
        Emulator(text)
