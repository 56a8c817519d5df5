"""The emulator finds what is wrong with a kernel, and says where: a planted bug for each check."""

import re

import numpy as np
import pytest

import emulator
from emulator import BankUse, Emulator, KernelError, SectorUse
from emulator.planted import BUGS

pytestmark = pytest.mark.skipif(emulator.why_not() is not None, reason=str(emulator.why_not()))


def line_of(text, mark):
    (line,) = (number for number, line in enumerate(text.splitlines(), start=1) if mark in line)
    return line


def launch(bug, kernel, seed):
    values, out = np.arange(bug.floats, dtype=np.float32), np.zeros(bug.floats, np.float32)
    return kernel.launch("wrong", bug.blocks, bug.threads, bug.shared_bytes, values, out, seed=seed)


def check_is_found(bug, seeds):
    kernel = Emulator(bug.text, file_name="planted.cu")
    for seed in range(seeds):
        with pytest.raises(KernelError) as caught:
            launch(bug, kernel, seed)
        error = caught.value
        assert (error.name, error.file) == (bug.error, "planted.cu") and error.line in bug.lines, str(error)
        assert error.block[0] < bug.blocks and error.block[1:] == (0, 0) and 0 <= error.thread < bug.threads
        assert bug.says in str(error)


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found_whatever_the_order(name):
    # a thread that tries for ever is given much time
    check_is_found(BUGS[name], 1 if "lock" in name else 8)


def test_the_message_says_all():
    bug = BUGS["a copy that is read before it is awaited"]
    with pytest.raises(KernelError) as caught:
        launch(bug, Emulator(bug.text, file_name="planted.cu"), 3)
    assert re.fullmatch(
        r"SharedMemoryRace at planted\.cu:6, block \(0, 0, 0\), thread \d+: reads byte \d+ of dynamic shared memory, "
        r"which thread \d+ is still copying to, by a copy that it started at planted\.cu:3",
        str(caught.value),
    ), str(caught.value)


def test_the_next_launch_after_an_error_is_clean():
    text = """
KERNEL void reverse(const float* in, float* out, int n) {
    __shared__ float values[64];
    values[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    const int from = n - 1 - (int)threadIdx.x;
    out[blockIdx.x * blockDim.x + threadIdx.x] = values[from];
}
"""
    kernel, values, out = Emulator(text), np.arange(64, dtype=np.float32), np.zeros(128, np.float32)
    for _ in range(3):
        with pytest.raises(KernelError, match="OutOfBounds"):
            kernel.launch("reverse", 2, 64, 0, values, out, 65)
        kernel.launch("reverse", 2, 64, 0, values, out, 64)
        assert np.array_equal(out, np.tile(values[::-1], 2))


BANKS = """
KERNEL void banks(float* out) {
    float* shared = (float*)dynamic_shared;
    const int i = threadIdx.x;
    for (int k = 0; k < 4; ++k) {
        shared[k * 256 + i] = 1.0f;  // neighbours
        __syncthreads();
    }
    for (int k = 0; k < 3; ++k) shared[i * 32 + k] = 1.0f;  // a column
    __syncthreads();
    out[i] = shared[i % 16 * 64 + i / 16];  // half a column
    __syncthreads();
    dynamic_shared[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);  // vectors in a row
    __syncthreads();
    dynamic_shared[i * 8] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);  // vectors in a column
    __syncthreads();
    out[i] += shared[0];  // all the same
    __syncthreads();
    *(float2*)(shared + 2 * i) = make_float2(0.0f, 0.0f);  // pairs in a row
    __syncthreads();
    *(float2*)(shared + 4 * i) = make_float2(0.0f, 0.0f);  // pairs two by two
    __syncthreads();
    copy_async(dynamic_shared + i % 8 * 8 + i / 8, out, true);  // copies in columns
    end_copy_group();
    await_copy_groups<0>();
    __syncthreads();
    if (i < 8) out[i] = shared[i * 32];  // some lanes
}
"""


def test_bank_conflicts():
    out = np.zeros(64, np.float32)
    report = Emulator(BANKS).launch("banks", 1, 32, 32 * 128, out)
    found = report.bank_conflicts
    expected = {
        "neighbours": BankUse(4, 0),
        "a column": BankUse(3, 3 * 31),
        "half a column": BankUse(1, 15),
        "vectors in a row": BankUse(1, 0),
        "vectors in a column": BankUse(1, 4 * 7),
        "all the same": BankUse(1, 0),
        "pairs in a row": BankUse(1, 0),
        "pairs two by two": BankUse(1, 2 * 1),
        "copies in columns": BankUse(1, 4 * 7),
        "some lanes": BankUse(1, 7),
    }
    for mark, use in expected.items():
        assert found[line_of(BANKS, f"// {mark}")] == use, mark


SECTORS = """
KERNEL void sectors(const float* in, const unsigned char* bytes, float* out, int first) {
    const int i = threadIdx.x;
    float sum = 0.0f;
    for (int k = 0; k < 4; ++k) sum += in[first + k * 32 + i];  // neighbours
    for (int k = 0; k < 8; ++k) sum += in[first + i * 8 + k];  // a run each
    sum += ((const float4*)(in + first))[i].x;  // a column
    const float4 piece = ((const float4*)(in + first))[i];  // vectors
    sum += piece.x + piece.y + piece.z + piece.w;
    sum += in[first + 8];  // all the same
    sum += bytes[first + i];  // bytes
    if (i < 9) sum += in[first + i];  // some lanes
    out[i] = sum;  // written
}
"""


@pytest.mark.parametrize("shift", [0, 4])
def test_sectors_of_global_memory(shift):
    """Of arrays that begin a line of 128 bytes, or 16 bytes later."""
    floats, bytes_ = np.zeros(400, np.float32), np.zeros(400, np.uint8)
    floats = floats[-floats.ctypes.data % 128 // 4 :][:300]
    bytes_ = bytes_[-bytes_.ctypes.data % 128 :][:300]
    out = np.zeros(64, np.float32)[:32]
    report = Emulator(SECTORS).launch("sectors", 1, 32, 0, floats, bytes_, out, shift)
    more = 1 if shift else 0
    expected = {
        "neighbours": SectorUse(4, 4 * (4 + more), 4 * 4),
        "a run each": SectorUse(8, 8 * 32, 8 * 4),
        "a column": SectorUse(1, 16 + more, 4),
        "vectors": SectorUse(1, 16 + more, 16),
        "all the same": SectorUse(1, 1, 1),
        "bytes": SectorUse(1, 1 + more, 1),
        "some lanes": SectorUse(1, 2, 2),
    }
    for mark, use in expected.items():
        assert report.sectors[line_of(SECTORS, f"// {mark}")] == use, mark
    written = report.sectors[line_of(SECTORS, "// written")]
    assert (written.accesses, written.fewest_sectors) == (1, 4) and written.sectors in (4, 5)
    assert not report.bank_conflicts
