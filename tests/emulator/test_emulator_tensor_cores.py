"""The emulator's tensor cores, halves and TF32: layouts by exact products, rounding by single numbers."""

import numpy as np
import pytest

import emulator
from emulator import Emulator

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))

KERNELS = """
DEVICE unsigned two_halves(const float* low, const float* high) { return to_halves(*low, *high); }

// out (16, 8) = start + a (16, 16) b (16, 8), each lane with the elements that PTX gives it
KERNEL void product_of_halves(const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ start,
                              float* __restrict__ out) {
    const int row = threadIdx.x / 4, pair = threadIdx.x % 4;
    unsigned fragment[4];
    for (int i = 0; i < 4; ++i) {
        const float* from = a + (row + i % 2 * 8) * 16 + 2 * pair + i / 2 * 8;
        fragment[i] = two_halves(from, from + 1);
    }
    unsigned columns[2];
    for (int i = 0; i < 2; ++i) {
        const float* from = b + (2 * pair + 8 * i) * 8 + row;
        columns[i] = two_halves(from, from + 8);
    }
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = start[(row + i / 2 * 8) * 8 + 2 * pair + i % 2];
    multiply_halves(sum, fragment, columns[0], columns[1]);
    for (int i = 0; i < 4; ++i) out[(row + i / 2 * 8) * 8 + 2 * pair + i % 2] = sum[i];
}

// out (16, 8) = start + a (16, 8) b (8, 8); with `rounded`, of numbers rounded to TF32, else of what they are
KERNEL void product_of_tf32(const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ start,
                            float* __restrict__ out, int rounded) {
    const int row = threadIdx.x / 4, pair = threadIdx.x % 4;
    unsigned fragment[4], columns[2];
    for (int i = 0; i < 4; ++i) {
        const float value = a[(row + i % 2 * 8) * 8 + pair + i / 2 * 4];
        fragment[i] = rounded ? to_tf32(value) : __float_as_uint(value);
    }
    for (int i = 0; i < 2; ++i) {
        const float value = b[(pair + 4 * i) * 8 + row];
        columns[i] = rounded ? to_tf32(value) : __float_as_uint(value);
    }
    float sum[4];
    for (int i = 0; i < 4; ++i) sum[i] = start[(row + i / 2 * 8) * 8 + 2 * pair + i % 2];
    multiply_tf32(sum, fragment, columns[0], columns[1]);
    for (int i = 0; i < 4; ++i) out[(row + i / 2 * 8) * 8 + 2 * pair + i % 2] = sum[i];
}

// The same product of halves, a and b (16, 16) by rows in shared memory: 16 rows of b are two instructions' columns.
KERNEL void product_from_shared(const int* __restrict__ a, const int* __restrict__ b, float* __restrict__ out) {
    unsigned* words = (unsigned*)dynamic_shared;
    for (int i = threadIdx.x; i < 128; i += WARP) words[i] = (unsigned)a[i], words[128 + i] = (unsigned)b[i];
    __syncthreads();
    const int lane = threadIdx.x, matrix = lane / 8, row = lane % 8 + matrix % 2 * 8;
    const float4* rows = dynamic_shared;
    unsigned fragment[4], columns[4];
    load_matrices(fragment, &rows[row * 2 + matrix / 2]);
    load_matrices_transposed(columns, &rows[32 + row * 2 + matrix / 2]);
    for (int half = 0; half < 2; ++half) {
        float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        multiply_halves(sum, fragment, columns[2 * half], columns[2 * half + 1]);
        for (int i = 0; i < 4; ++i) out[(lane / 4 + i / 2 * 8) * 16 + half * 8 + lane % 4 * 2 + i % 2] = sum[i];
    }
}

// out (rows, columns) = a (rows, depth) b (depth, columns): tiles of 32 x 64 by four warps, 16 x 32 each, in steps of
// 16 of the depth, of which two are in shared memory.
#define STEP 16
#define A_STRIDE 20
#define B_STRIDE 72
KERNEL void __launch_bounds__(128) tiled_product(const float* __restrict__ a, const float* __restrict__ b,
                                                 float* __restrict__ out, int columns, int depth) {
    float* const shared = (float*)dynamic_shared;
    const int size = 32 * A_STRIDE + STEP * B_STRIDE;
    const int thread = threadIdx.x, first_row = blockIdx.x * 32, first_column = blockIdx.y * 64;
    auto copy_step = [&](int step) {
        float* to_a = shared + step % 2 * size;
        float* to_b = to_a + 32 * A_STRIDE;
        const int row = thread / 4, k = thread % 4 * 4;
        copy_async((float4*)(to_a + row * A_STRIDE + k), a + (first_row + row) * depth + step * STEP + k, true);
        for (int i = thread; i < STEP * 16; i += 128)
            copy_async((float4*)(to_b + i / 16 * B_STRIDE + i % 16 * 4),
                       b + (step * STEP + i / 16) * columns + first_column + i % 16 * 4, true);
    };
    const int warp = thread / WARP, row = thread % WARP / 4, pair = thread % 4;
    const int warp_row = warp / 2 * 16 + row, warp_column = warp % 2 * 32 + row;
    float sums[4][4] = {};
    const int steps = depth / STEP;
    copy_step(0);
    end_copy_group();
    for (int step = 0; step < steps; ++step) {
        if (step + 1 < steps) copy_step(step + 1);
        end_copy_group();
        await_copy_groups<1>();
        __syncthreads();
        const float* of_a = shared + step % 2 * size + warp_row * A_STRIDE + pair;
        const float* of_b = shared + step % 2 * size + 32 * A_STRIDE + pair * B_STRIDE + warp_column;
        #pragma unroll
        for (int k = 0; k < STEP; k += 8) {
            const unsigned fragment[4] = {to_tf32(of_a[k]), to_tf32(of_a[8 * A_STRIDE + k]), to_tf32(of_a[k + 4]),
                                          to_tf32(of_a[8 * A_STRIDE + k + 4])};
            #pragma unroll
            for (int tile = 0; tile < 4; ++tile)
                multiply_tf32(sums[tile], fragment, to_tf32(of_b[k * B_STRIDE + tile * 8]),
                              to_tf32(of_b[(k + 4) * B_STRIDE + tile * 8]));
        }
        __syncthreads();
    }
    for (int tile = 0; tile < 4; ++tile)
        for (int half = 0; half < 2; ++half) {
            const int column = first_column + warp % 2 * 32 + tile * 8 + 2 * pair;
            *(float2*)(out + (first_row + warp_row + half * 8) * columns + column) =
                make_float2(sums[tile][2 * half], sums[tile][2 * half + 1]);
        }
}

KERNEL void convert(const float* __restrict__ low, const float* __restrict__ high, int* __restrict__ halves,
                    int* __restrict__ nonzero, int* __restrict__ tf32, float* __restrict__ back, int n) {
    GRID_LOOP(i, n) {
        const unsigned both = to_halves(low[i], high[i]);
        halves[i] = (int)both;
        nonzero[i] = (int)nonzero_halves(both);
        tf32[i] = (int)to_tf32(low[i]);
        back[2 * i] = low_half(both);
        back[2 * i + 1] = high_half(both);
    }
}
"""


@pytest.fixture(scope="module")
def kernels():
    return Emulator(KERNELS)


def integers(seed, *shape):
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


def test_products_of_halves(kernels):
    a, b, start, out = integers(1, 16, 16), integers(2, 16, 8), integers(3, 16, 8), np.zeros((16, 8), np.float32)
    report = kernels.launch("product_of_halves", 1, 32, 0, a, b, start, out)
    assert np.array_equal(out, start + a @ b)
    assert (report.halves_products, report.tf32_products) == (1, 0)


@pytest.mark.parametrize("rounded", [0, 1])
def test_products_of_tf32(kernels, rounded):
    a, b, start, out = integers(1, 16, 8), integers(2, 8, 8), integers(3, 16, 8), np.zeros((16, 8), np.float32)
    report = kernels.launch("product_of_tf32", 1, 32, 0, a, b, start, out, rounded)
    assert np.array_equal(out, start + a @ b)
    assert (report.halves_products, report.tf32_products) == (0, 1)


def test_matrices_from_shared_memory(kernels):
    a, b, out = integers(1, 16, 16), integers(2, 16, 16), np.zeros((16, 16), np.float32)
    words = [matrix.astype(np.float16).view(np.int32).copy() for matrix in (a, b)]
    report = kernels.launch("product_from_shared", 1, 32, 1024, *words, out)
    assert np.array_equal(out, a @ b)
    line = 1 + KERNELS.splitlines().index("    load_matrices(fragment, &rows[row * 2 + matrix / 2]);")
    # rows of 32 bytes: of 8 of them, 4 share their banks with the other 4
    assert report.bank_conflicts[line] == emulator.BankUse(accesses=1, extra_wavefronts=4)


def test_a_tiled_product(kernels):
    a, b, out = integers(1, 64, 128), integers(2, 128, 192), np.zeros((64, 192), np.float32)
    shared_bytes = 2 * (32 * 20 + 16 * 72) * 4
    for seed in range(3):
        report = kernels.launch("tiled_product", (2, 3, 1), 128, shared_bytes, a, b, out, 192, 128, seed=seed)
        assert np.array_equal(out, a @ b)
    assert report.tf32_products == 64 * 192 * 128 // (16 * 8 * 8)
    assert report.barriers == 6 * 2 * 128 // 16
    assert report.copies == 6 * (32 + 64) * 128 // 4
    # the strides keep the lanes that read fragments in different banks, but not those that copy two rows of a
    lines = KERNELS.splitlines()
    extra = {line: use.extra_wavefronts / use.accesses for line, use in report.bank_conflicts.items()}
    assert len(extra) == 5
    assert all(wavefronts == 4 * ("float4*)(to_a" in lines[line - 1]) for line, wavefronts in extra.items())


def sum_of(kernels, kernel, depth, a, b, start, *more):
    """start + the sum of a[k] b[k], as one element of a product."""
    matrices = np.zeros((16, depth), np.float32), np.zeros((depth, 8), np.float32)
    matrices[0][5, : len(a)], matrices[1][: len(b), 3] = a, b
    out = np.zeros((16, 8), np.float32)
    kernels.launch(kernel, 1, 32, 0, *matrices, np.full((16, 8), start, np.float32), out, *more)
    return out[5, 3]


def test_tf32_ignores_what_it_does_not_hold(kernels):
    value = 1 + 2**-10 + 2**-11 + 2**-12  # two bits too many
    assert sum_of(kernels, "product_of_tf32", 8, [value], [2.0], 0, 0) == 2 * (1 + 2**-10)
    assert sum_of(kernels, "product_of_tf32", 8, [value], [2.0], 0, 1) == 2 * (1 + 2**-9)


@pytest.mark.parametrize(("kernel", "depth", "more"), [("product_of_halves", 16, ()), ("product_of_tf32", 8, (1,))])
def test_sums_are_rounded_toward_zero(kernels, kernel, depth, more):
    for sign in (1, -1):
        # to the nearest, it would be the next float
        assert sum_of(kernels, kernel, depth, [sign, sign * 2.0**-12], [1.0, 0.75 * 2.0**-11], 0, *more) == sign
        before = np.float32(np.nextafter(np.float32(1), np.float32(0)))
        assert sum_of(kernels, kernel, depth, [sign, -sign * 2.0**-14], [1.0, 2.0**-14], 0, *more) == sign * before
    # not rounded in between
    assert sum_of(kernels, kernel, depth, [2.0**12, 2.0**-12, -(2.0**12)], [2.0**12, 1, 2.0**12], 0, *more) == 2**-12


def test_products_that_overflow(kernels):
    largest = np.finfo(np.float32).max
    assert sum_of(kernels, "product_of_halves", 16, [1.0], [1.0], largest) == largest
    assert sum_of(kernels, "product_of_halves", 16, [np.inf], [1.0], 0) == np.inf
    assert np.isnan(sum_of(kernels, "product_of_halves", 16, [np.inf, np.inf], [1.0, -1.0], 0))


def numbers():
    """Floats of all kinds: halves, what lies between two of them, subnormal, too large, special."""
    bits = np.arange(0x7C00, dtype=np.uint16)
    halves = bits.view(np.float16).astype(np.float32)
    between = (halves[1:] + halves[:-1]) / 2
    special = np.array([65504, 65519.99, 65520, 65536, 1e30, np.inf, 1e-8, 2.0**-25, 1e-40], np.float32)
    near = np.concatenate([np.nextafter(between, np.float32(0)), np.nextafter(between, np.float32(1e9))])
    positive = np.concatenate([halves, between, near, special])
    return np.concatenate([positive, -positive])


def test_conversions(kernels):
    low = numbers()
    high = np.roll(low, 1).copy()
    halves, nonzero, tf32 = (np.zeros(low.size, np.int32) for _ in range(3))
    back = np.zeros((low.size, 2), np.float32)
    kernels.launch("convert", 1, 128, 0, low, high, halves, nonzero, tf32, back, low.size)
    with np.errstate(over="ignore"):
        expected = np.stack([low, high], axis=1).astype(np.float16)
    assert np.array_equal(halves.view(np.uint16).reshape(-1, 2), expected.view(np.uint16))
    assert np.array_equal(back, expected.astype(np.float32))
    assert np.array_equal(nonzero.view(np.float16).reshape(-1, 2), (expected != 0).astype(np.float16))
    # to 11 significant bits, ties away from zero
    mantissa, exponent = np.frexp(low.astype(np.float64))
    finite = np.isfinite(low) & (np.abs(low) >= np.finfo(np.float32).tiny)
    rounded = np.ldexp(np.trunc(mantissa * 2**11 + np.copysign(0.5, low)), exponent - 11)
    assert np.array_equal(tf32.view(np.float32)[finite], rounded[finite].astype(np.float32))
    assert np.all(np.isinf(tf32.view(np.float32)[np.isinf(low)]))


def test_a_nan_stays_one(kernels):
    nan = np.array([np.nan, -np.nan], np.float32)
    halves, nonzero, tf32 = (np.zeros(2, np.int32) for _ in range(3))
    back = np.zeros((2, 2), np.float32)
    kernels.launch("convert", 1, 32, 0, nan, nan, halves, nonzero, tf32, back, 2)
    assert np.all(np.isnan(back)) and np.all(np.isnan(tf32.view(np.float32)))
    # as x != 0 has it everywhere
    assert (nonzero.view(np.float16) == 1).all()
