"""Every kernel compiles with NVRTC for every architecture, without spilling; no GPU is needed."""

from itertools import product

import pytest

from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.tensorcore.tiles import group_tiles
from ttfs_cupy.device.compilation import cubins, nvrtc, source
from ttfs_cupy.device.compilation.source import Unit
from ttfs_cupy.device.libraries import cuda_libraries

# Two registers' worth, which neither 12.9 nor 13.5 spills
SPILLED_BY = {(13, 0): {"tensorcore_weight_gradient apart 64x64 3x9 on sm_120"}}


@pytest.fixture(scope="module", autouse=True)
def nvrtc_is_installed():
    if cuda_libraries.missing_cupy():
        pytest.skip("CuPy is not installed")
    if not cuda_libraries.installed_majors():
        try:
            nvrtc.version()
        except UserError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="module")
def usages():
    return [usage for cubin in cubins.compile_all(variants=variants()) for usage in cubin.usage]


def test_every_kernel_compiles_for_every_architecture(usages, capsys):
    assert {(usage.kernel, usage.architecture) for usage in usages} == {
        (kernel, architecture)
        for kernel in [*source.kernels("cuda"), *variants()]
        for architecture in nvrtc.ARCHITECTURES
    }
    # of every cooperative kernel there are variants
    assert {variant.kernel for variant in variants().values()} == set(source.kernels(source.COOPERATIVE))
    with capsys.disabled():
        print(f"\nNVRTC {'.'.join(map(str, nvrtc.version()))}\n{nvrtc.table(usages)}")


def test_no_kernel_spills(usages):
    spilling = {f"{usage.kernel} on sm_{usage.architecture}" for usage in usages if usage.spills}
    assert spilling <= SPILLED_BY.get(nvrtc.version(), set())
    assert all(0 < usage.registers <= 255 for usage in usages)


@pytest.mark.parametrize("taps", [9, 1])
def test_products_of_warpgroups_overlap(taps):
    """ptxas says C7513 and the like where it lets them wait for each other. Every option that a layer may bring."""
    tile, units = group_tiles(taps)[0], []
    # whole channels, those of a last block, and those that cannot be copied four at a time
    copies = ((1, 4), (0, 4), (0, 1))
    for rows, (whole, vector), has_weight_sum, split, ranged in product(
        (0, 1), copies, (0, 1), (0, 1), {0, int(taps == 1)}
    ):
        names = {
            "ROWS": rows,
            "WHOLE": whole,
            "HAS_SUM": has_weight_sum,
            "SPLIT": split,
            "VECTOR": vector,
            "RANGED": ranged,
        }
        units.append(Unit("tensorcore_forward", (*tile.constants, *names.items(), ("GROUPS", 1), ("FAN", 8))))
    found = cubins.compiled([(unit, "90a") for unit in units])
    assert len(found) == len(units)
    waiting = [cubin.unit for cubin in found.values() if "(C75" in cubin.log or "serialized" in cubin.log]
    assert not waiting


def test_cubins_are_code_for_their_architecture():
    cubin = cubins.cubin(Unit("neuron"), 90)
    assert cubin.code.startswith(b"\x7fELF")
    assert b"fire" in cubin.code
    assert cubins.cubin(Unit("neuron"), 80).code != cubin.code


def test_a_spill_is_seen():
    # sixty-four values live at once, with room for sixteen registers
    hoard = """
    extern "C" __global__ void __launch_bounds__(1024, 4) hoard(float* x, int n) {
        float v[64];
        #pragma unroll
        for (int k = 0; k < 64; ++k) v[k] = x[k * n + threadIdx.x];
        __syncthreads();
        #pragma unroll
        for (int k = 0; k < 64; ++k) x[k * n + threadIdx.x] = v[63 - k] * v[(k * 7) % 64];
    }
    extern "C" __global__ void shared(float* x) {
        __shared__ float s[256];
        s[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
        x[threadIdx.x] = s[255 - threadIdx.x];
    }
    """
    _, log = nvrtc.compile_text(hoard, "hoard.cu", 75)
    hoards, shared = nvrtc.read_log(log, 75)
    assert hoards.kernel == "hoard" and hoards.spills and hoards.spill_stores >= 4 and hoards.stack >= 4
    assert shared.kernel == "shared" and shared.shared == 1024 and not shared.spills


def test_the_table_marks_spills():
    usages = [nvrtc.Usage("fire", 75, 255, 8, 4, 4, 0), nvrtc.Usage("fire", 90, 24, 0, 0, 0, 0)]
    rows = nvrtc.table(usages).splitlines()
    assert rows[0].split() == ["registers", "sm_75", "sm_90"]
    assert ["fire", "255!", "24"] in [row.split() for row in rows]
    assert ["copy", "-", "-"] in [row.split() for row in rows]
    variant = nvrtc.Usage("tensorcore_weight_gradient 128x128 10x10", 90, 64, 0, 0, 0, 0)
    *_, last = nvrtc.table([*usages, variant]).splitlines()
    assert last.split() == ["tensorcore_weight_gradient", "128x128", "10x10", "-", "64"]


@pytest.mark.parametrize(
    ("text", "architecture", "said"),
    [
        ("__global__ void broken( {", 90, r"cannot compile broken.cu for sm_90: broken.cu\(1\): error"),
        ("", 13, "cannot compile broken.cu for sm_13: .*invalid value for --gpu-architecture"),
    ],
)
def test_what_does_not_compile_is_told_in_a_sentence(text, architecture, said):
    with pytest.raises(UserError, match=said) as caught:
        nvrtc.compile_text(text, "broken.cu", architecture)
    assert "\n" not in str(caught.value)
