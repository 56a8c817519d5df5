"""The emulator's products of warpgroups: what they compute, and a planted bug for each check."""

from pathlib import Path

import numpy as np
import pytest

import emulator
from emulator import Emulator, KernelError
from emulator.planted import warpgroups
from emulator.test_emulator_errors import check_is_found, launch

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))

KERNELS = """
#define MAX_STEPS 4

// Of a right factor (depth, 64) each 16 rows, one beside the other; behind a barrier it may be multiplied by.
DEVICE void write_right_factor(const float* b, int depth, int rows_apart, int columns_apart) {
    char* const bytes = (char*)dynamic_shared;
    for (int i = threadIdx.x; i < depth * 32; i += blockDim.x) {
        const int k = i / 64 * 2, column = i % 64;
        const int part = k / 16 * 2048 + k % 16 / 8 * rows_apart + column / 8 * columns_apart;
        const float* from = b + k * 64 + column;
        *(unsigned*)(bytes + part + column % 8 * 16 + k % 8 * 2) = to_halves(from[0], from[64]);
    }
    show_products();
}

// A thread's first row of a warpgroup's 64, and of the block's.
DEVICE int first_row() { return threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4; }

DEVICE void read_left_factor(unsigned (&to)[4], const float* a, int depth, int step) {
    for (int i = 0; i < 4; ++i) {
        const float* from = a + (first_row() + i % 2 * 8) * depth + step * 16 + threadIdx.x % 4 * 2 + i / 2 * 8;
        to[i] = to_halves(from[0], from[1]);
    }
}

// Of the sum with number i of a lane.
DEVICE int place_of_sum(int i) {
    return (first_row() + i % 4 / 2 * 8) * 64 + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2;
}

// out (rows, 64) = start + a (rows, depth) b (depth, 64), each warpgroup 64 rows; with `first` without start
KERNEL void product(const float* a, const float* b, const float* start, float* out, int depth, int rows_apart,
                    int columns_apart, int first) {
    write_right_factor(b, depth, rows_apart, columns_apart);
    float sum[GROUP_SUMS];
    unsigned left[MAX_STEPS][4];
    for (int step = 0; step < depth / 16; ++step) read_left_factor(left[step], a, depth, step);
    for (int i = 0; i < GROUP_SUMS; ++i) sum[i] = start[place_of_sum(i)];
    __syncthreads();
    begin_products();
    for (int step = 0; step < depth / 16; ++step)
        multiply_group(sum, left[step], right_factor(dynamic_shared + step * 128, rows_apart, columns_apart),
                       first && step == 0);
    end_product_group();
    await_product_groups<0>();
    for (int i = 0; i < GROUP_SUMS; ++i) out[place_of_sum(i)] = sum[i];
}

// The same in steps, b of each read anew into the other of two halves of shared memory while the last is multiplied by
KERNEL void staged_product(const float* a, const float* b, float* out, int depth) {
    float sum[GROUP_SUMS];
    unsigned left[2][4];
    for (int step = 0; step < depth / 16; ++step) {
        char* const stage = (char*)dynamic_shared + step % 2 * 2048;
        for (int i = threadIdx.x; i < 512; i += blockDim.x) {
            const int k = i / 64 * 2, column = i % 64;
            const float* from = b + (step * 16 + k) * 64 + column;
            *(unsigned*)(stage + k / 8 * 1024 + column * 16 + k % 8 * 2) = to_halves(from[0], from[64]);
        }
        show_products();
        read_left_factor(left[step % 2], a, depth, step);
        __syncthreads();
        begin_products();
        multiply_group(sum, left[step % 2], right_factor(stage, 1024, 128), step == 0);
        end_product_group();
        await_product_groups<1>();
        __syncthreads();
    }
    await_product_groups<0>();
    for (int i = 0; i < GROUP_SUMS; ++i) out[place_of_sum(i)] = sum[i];
}

// out (2, rows, 64): the products with rows 0 to 15 of b, and with all, in groups of which the first is awaited first
KERNEL void two_groups(const float* a, const float* b, float* out) {
    write_right_factor(b, 32, 1024, 128);
    float some[GROUP_SUMS], all[GROUP_SUMS];
    unsigned left[2][4];
    for (int step = 0; step < 2; ++step) read_left_factor(left[step], a, 32, step);
    const unsigned long long b0 = right_factor(dynamic_shared, 1024, 128);
    __syncthreads();
    begin_products();
    multiply_group(all, left[1], b0 + (2048 >> 4), true);
    multiply_group(some, left[0], b0, true);
    end_product_group();
    multiply_group(all, left[0], b0, false);
    end_product_group();
    await_product_groups<1>();
    for (int i = 0; i < GROUP_SUMS; ++i) out[place_of_sum(i)] = some[i];
    await_product_groups<0>();
    for (int i = 0; i < GROUP_SUMS; ++i) out[blockDim.x * 32 + place_of_sum(i)] = all[i];
}
"""


@pytest.fixture(scope="module")
def kernels() -> Emulator:
    return Emulator(KERNELS)


def integers(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


def halves(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float16).astype(np.float32)


def product(
    kernels: Emulator,
    a: np.ndarray,
    b: np.ndarray,
    start: np.ndarray,
    first: bool = False,
    apart: tuple[int, int] = (1024, 128),
    seed: int = 0,
) -> np.ndarray:
    out = np.zeros_like(start)
    threads, shared_bytes = 2 * len(a), 128 * len(b)
    report = kernels.launch(
        "product", 1, threads, shared_bytes, a, b, start, out, len(b), *apart, int(first), seed=seed
    )
    assert report.group_products == len(a) // 64 * len(b) // 16
    assert (report.halves_products, report.tf32_products, report.barriers) == (0, 0, 1)
    return out


@pytest.mark.parametrize("apart", [(1024, 128), (128, 256)])
@pytest.mark.parametrize(("groups", "steps"), [(1, 1), (1, 4), (2, 3)])
def test_products(kernels: Emulator, groups: int, steps: int, apart: tuple[int, int]) -> None:
    a, b, start = integers(1, 64 * groups, 16 * steps), integers(2, 16 * steps, 64), integers(3, 64 * groups, 64)
    for seed in range(3):
        assert np.array_equal(product(kernels, a, b, start, apart=apart, seed=seed), start + a @ b)
    assert np.array_equal(product(kernels, a, b, np.full_like(start, np.nan), first=True, apart=apart), a @ b)


def test_sums_are_rounded_toward_zero_once_a_product(kernels: Emulator) -> None:
    a, b, start = halves(1, 64, 64), halves(2, 64, 64), halves(3, 64, 64)
    expected = start.astype(np.float64)
    for k in range(0, 64, 16):
        expected += a[:, k : k + 16].astype(np.float64) @ b[k : k + 16].astype(np.float64)
        nearest = expected.astype(np.float32)
        expected = np.where(np.abs(nearest) > np.abs(expected), np.nextafter(nearest, np.float32(0)), nearest)
        expected = expected.astype(np.float64)
    found = product(kernels, a, b, start)
    assert np.mean(found == expected) > 0.999  # NumPy adds in another order
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_products_in_stages(kernels: Emulator) -> None:
    a, b, out = integers(1, 128, 160), integers(2, 160, 64), np.zeros((128, 64), np.float32)
    for seed in range(8):
        report = kernels.launch("staged_product", 1, 256, 4096, a, b, out, 160, seed=seed)
        assert np.array_equal(out, a @ b)
    assert (report.group_products, report.barriers) == (20, 20)


def test_groups_of_products(kernels: Emulator) -> None:
    a, b, out = integers(1, 64, 32), integers(2, 32, 64), np.zeros((2, 64, 64), np.float32)
    for seed in range(4):
        kernels.launch("two_groups", 1, 128, 4096, a, b, out, seed=seed)
        assert np.array_equal(out, [a[:, :16] @ b[:16], a @ b])


def test_what_is_counted_for_coverage_multiplies_too(tmp_path: Path) -> None:
    kernels = Emulator(KERNELS, coverage=tmp_path)
    a, b, start = integers(1, 64, 64), integers(2, 64, 64), integers(3, 64, 64)
    assert np.array_equal(product(kernels, a, b, start), start + a @ b)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("a left factor that is changed before the product is awaited", "left factor"),
        ("sums that are written before they are awaited", "sums"),
    ],
)
def test_what_changed_is_found_where_accesses_are_not_watched(tmp_path: Path, name: str, what: str) -> None:
    bug = warpgroups.BUGS[name]
    with pytest.raises(KernelError, match=f"RegistersInFlight at .* the {what} of this product changed"):
        launch(bug, Emulator(bug.text, coverage=tmp_path), 0)


@pytest.mark.parametrize("name", warpgroups.BUGS)
def test_a_planted_bug_is_found_whatever_the_order(name: str) -> None:
    check_is_found(warpgroups.BUGS[name], 8)


def test_without_its_bug_the_kernel_runs() -> None:
    right = warpgroups.bug("", warpgroups.RIGHT)
    for seed in range(8):
        assert launch(right, Emulator(right.text), seed).group_products == 1
