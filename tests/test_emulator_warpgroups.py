"""The emulator's products of warpgroups: layouts and chains of them by NumPy, and a planted bug for each check."""

import dataclasses

import emulator
import numpy as np
import pytest
from emulator import Emulator, KernelError
from planted_bugs import Bug

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))

# out (rows, 64) = start + a (rows, depth) b (depth, 64): a warpgroup has 64 rows, and all share b, of whose steps of 16
# two are in shared memory; a product runs on while the next one's left factor is loaded.
KERNEL = """
#include "warpgroup.h"

#define STEP 16
#define STEP_PIECES 128

// 8 neighbouring columns, with each half of the step's rows, are 8 pieces of 16 bytes.
DEVICE void store_step(const float* b, int step, float4* to) {
    for (int piece = threadIdx.x; piece < STEP_PIECES; piece += blockDim.x) {
        const int column = piece / 16 * 8 + piece % 8, row = step * STEP + piece / 8 % 2 * 8;
        unsigned words[4];
        for (int i = 0; i < 4; ++i) {
            const float* const from = b + (row + 2 * i) * 64 + column;
            words[i] = to_halves(from[0], from[64]);
        }
        ((uint4*)to)[piece] = make_uint4(words[0], words[1], words[2], words[3]);
    }
    show_products();
    __syncthreads();
}

KERNEL void product(const float* __restrict__ a, const float* __restrict__ b, const float* __restrict__ start,
                    float* __restrict__ out, int depth, int adds) {
    const int lane = threadIdx.x % WARP, row = blockIdx.x * blockDim.x / 2 + threadIdx.x / WARP * 16 + lane / 4;
    float sum[GROUP_SUMS];
    for (int i = 0; i < GROUP_SUMS; ++i) {
        const int at = (row + i % 4 / 2 * 8) * 64 + i / 4 * 8 + lane % 4 * 2 + i % 2;
        sum[i] = adds ? start[at] : __int_as_float(0x7fc00000);
    }
    store_step(b, 0, dynamic_shared);
    for (int step = 0; step < depth / STEP; ++step) {
        unsigned fragment[4];
        for (int i = 0; i < 4; ++i) {
            const float* const from = a + (row + i % 2 * 8) * depth + step * STEP + lane % 4 * 2 + i / 2 * 8;
            fragment[i] = to_halves(from[0], from[1]);
        }
        begin_products();
        const float4* const right = dynamic_shared + step % 3 * STEP_PIECES;
        multiply_group(sum, fragment, right_factor(right, 128, 256), !adds && step == 0);
        end_product_group();
        await_product_groups<1>();
        if (step + 1 < depth / STEP) store_step(b, step + 1, dynamic_shared + (step + 1) % 3 * STEP_PIECES);
    }
    await_product_groups<0>();
    for (int i = 0; i < GROUP_SUMS; ++i) out[(row + i % 4 / 2 * 8) * 64 + i / 4 * 8 + lane % 4 * 2 + i % 2] = sum[i];
}
"""


def compiled(text: str) -> Emulator:
    # as source.cooperative_text leaves it: the emulator has read its own version of the header
    return Emulator(text.replace('#include "warpgroup.h"\n', "\n"), file_name="planted.cu")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("adds", [0, 1])
def test_a_product_in_steps(adds: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows, depth = 256, 16 * (seed + 1)
    a, b, start = (draw.integers(-9, 9, size).astype(np.float32) for size in ((rows, depth), (depth, 64), (rows, 64)))
    out = np.full((rows, 64), np.nan, np.float32)
    report = compiled(KERNEL).launch("product", 1, 512, 3 * 2048, a, b, start, out, depth, adds, seed=seed)
    # whole numbers: exact
    np.testing.assert_array_equal(out, a @ b + adds * start)
    assert report.group_products == rows // 64 * depth // 16


def test_sums_are_truncated() -> None:
    """As tensor cores do: 16 terms and the sum before are added as one, and cut off."""
    a, b = np.zeros((64, 16), np.float32), np.zeros((16, 64), np.float32)
    start, out = np.full((64, 64), -1, np.float32), np.empty((64, 64), np.float32)
    a[:, 0], b[0] = 2.0**-13, -(2.0**-13)
    compiled(KERNEL).launch("product", 1, 128, 3 * 2048, a, b, start, out, 16, 1)
    assert (out == np.float32(-1)).all() and np.float32(-1 - 2.0**-26) == -1
    a[:, 1], b[1] = 2.0**-12, -(2.0**-11) * 1.5
    compiled(KERNEL).launch("product", 1, 128, 3 * 2048, a, b, start, out, 16, 1)
    # 1 + 1.5 2^-23 lies between two floats, of which the nearer to 0 is taken
    assert (out == -(1 + np.float32(2.0**-23))).all()


START = """
    float sum[GROUP_SUMS] = {};
    const unsigned a[4] = {};
    float4* const shared = dynamic_shared;
"""
FILL = """
    shared[i] = make_float4(in[i], 0.0f, 0.0f, 0.0f);
"""
SHOWN = f"{START}{FILL}    show_products();\n    __syncthreads();\n"
END = """
    for (int k = 0; k < GROUP_SUMS; ++k) out[i] += sum[k];
"""
MULTIPLY = "begin_products(); multiply_group(sum, a, right_factor(shared, 128, 256), true); end_product_group();"

BUGS = {
    "what a thread wrote is not shown": Bug(
        "MissingProxyFence",
        f"""{START}{FILL}    __syncthreads();
    {MULTIPLY} // here
    await_product_groups<0>();{END}""",
        says="did not show before a barrier",
    ),
    "it is shown behind the barrier": Bug(
        "MissingProxyFence",
        f"""{START}{FILL}    __syncthreads();
    show_products();
    {MULTIPLY} // here
    await_product_groups<0>();{END}""",
    ),
    "written again after it was shown": Bug(
        "MissingProxyFence",
        f"""{START}{FILL}    show_products();
    shared[i].y = 1.0f;
    __syncthreads();
    {MULTIPLY} // here
    await_product_groups<0>();{END}""",
    ),
    "overwritten behind a barrier, while the product runs": Bug(
        "SharedMemoryRace",
        f"""{SHOWN}    {MULTIPLY} // here
    __syncthreads();
    shared[i].x = 2.0f; // or here
    await_product_groups<0>();{END}""",
    ),
    "a right factor that nobody wrote": Bug(
        "UninitialisedRead",
        f"""{START}    if (i < 100) shared[i] = make_float4(in[i], 0.0f, 0.0f, 0.0f);
    show_products();
    __syncthreads();
    {MULTIPLY} // here
    await_product_groups<0>();{END}""",
    ),
    "a right factor whose copy is not awaited": Bug(
        "SharedMemoryRace",
        f"""{START}    copy_async(shared + i, in + 4 * (i % 16), true); // here
    end_copy_group();
    show_products();
    __syncthreads();
    {MULTIPLY} // or here
    await_product_groups<0>();
    await_copy_groups<0>();{END}""",
    ),
    "sums that are written while they are computed": Bug(
        "RegistersInFlight",
        f"""{SHOWN}    {MULTIPLY} // here
    sum[3] = 1.0f;
    await_product_groups<0>();{END}""",
    ),
    "no fence before the first product": Bug(
        "MissingFence",
        f"""{SHOWN}    multiply_group(sum, a, right_factor(shared, 128, 256), true); // here
    end_product_group();
    await_product_groups<0>();{END}""",
    ),
    "no fence after the sums were read": Bug(
        "MissingFence",
        f"""{SHOWN}    {MULTIPLY}
    await_product_groups<0>();
    sum[0] += 1.0f;
    multiply_group(sum, a, right_factor(shared, 128, 256), false); // here
    end_product_group();
    await_product_groups<0>();{END}""",
    ),
    "a product that is never awaited": Bug(
        "PendingProducts",
        f"""{SHOWN}    {MULTIPLY} // here
    await_product_groups<1>();{END}""",
    ),
    "half of a warp": Bug(
        "BarrierDivergence",
        f"""{SHOWN}    if (i % 32 < 16) return;
    begin_products(); // here
    multiply_group(sum, a, right_factor(shared, 128, 256), true);
    end_product_group();
    await_product_groups<0>();{END}""",
    ),
    "half of a warpgroup": Bug(
        "BarrierDivergence",
        f"""{SHOWN}    {MULTIPLY} // here
    await_product_groups<0>();{END}""",
        threads=192,
        says="no whole number of warpgroups",
    ),
    "a right factor beyond the end": Bug(
        "OutOfBounds",
        f"""{SHOWN}    begin_products();
    multiply_group(sum, a, right_factor(shared + 8, 128, 256), true); // here
    end_product_group();
    await_product_groups<0>();{END}""",
    ),
    "a misaligned right factor": Bug(
        "Misaligned",
        f"""{SHOWN}    begin_products();
    multiply_group(sum, a, right_factor((float*)shared + 2, 128, 256), true); // here
    end_product_group();
    await_product_groups<0>();{END}""",
    ),
}


def launch(bug: Bug, seed: int) -> None:
    values, out = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    compiled(bug.text).launch("wrong", 1, bug.threads, 16 * bug.threads, values, out, seed=seed)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_whatever_the_order(name: str) -> None:
    bug = BUGS[name]
    bug = dataclasses.replace(bug, threads=128) if bug.threads == 64 else bug
    for seed in range(8):
        with pytest.raises(KernelError) as caught:
            launch(bug, seed)
        error = caught.value
        assert error.name == bug.error and error.line in bug.lines, str(error)
        assert bug.says in str(error)


def test_a_warp_that_takes_no_part() -> None:
    body = f"{SHOWN}    if (i >= 32) {{ {MULTIPLY} await_product_groups<0>(); }}{END}"
    with pytest.raises(KernelError, match="warp 1 started 1 products, warp 0 of its group 0") as caught:
        launch(Bug("BarrierDivergence", body, threads=128), 0)
    assert caught.value.name == "BarrierDivergence"


def test_without_a_bug_all_is_well() -> None:
    body = f"{SHOWN}    {MULTIPLY} await_product_groups<0>();{END}"
    for seed in range(8):
        launch(Bug("", body, threads=128), seed)


def test_sums_are_no_numbers_until_they_are_awaited() -> None:
    body = f"{SHOWN}    {MULTIPLY} out[i] = sum[0]; await_product_groups<0>();"
    bug = Bug("", body, threads=128)
    values, out = np.zeros(256, np.float32), np.zeros(256, np.float32)
    compiled(bug.text).launch("wrong", 1, 128, 2048, values, out)
    assert np.isnan(out[:128]).all()
