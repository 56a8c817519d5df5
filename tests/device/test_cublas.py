"""Matrix products on a GPU: the engine's calls of cuBLAS, on a stand-in for its library, beside products in float64."""

import logging
from ctypes import CFUNCTYPE, c_int
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from helpers.stepping import Training
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CpuDevice, CudaDevice, Stack, cuda_trouble, import_cupy
from ttfs_cupy.device.cublas import LARGE_WORKSPACE_BYTES, WORKSPACE_BYTES, Cublas, CublasError, load_library

SIZES = st.integers(1, 9)


def grid(draw: np.random.Generator, device: CudaDevice, stack: Stack) -> Stack:
    """That stack with values, on the device."""
    values = draw.standard_normal((stack.count, stack.step)).astype(np.float32)
    return replace(stack, array=device.to_device(values))


def matrices(device: Any, stack: Stack, down: int, across: int) -> np.ndarray:
    """Its upper left corner in float64, (down, across, rows, columns)."""
    values = device.to_host(stack.array).astype(np.float64)[:, : stack.rows * stack.columns]
    return values.reshape(-1, stack.across, stack.rows, stack.columns)[:down, :across]


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(SIZES, SIZES, SIZES),
    corner=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    beyond=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    gap=st.integers(0, 3),
    transposed=st.booleans(),
    add=st.booleans(),
)
def test_products_of_stacks(
    sizes: tuple[int, int, int],
    corner: tuple[int, int],
    beyond: tuple[int, int],
    gap: int,
    transposed: bool,
    add: bool,
) -> None:
    machine, draw = Machine(), np.random.default_rng(0)
    device = device_of(machine)
    (rows, depth, columns), (down, across) = sizes, corner
    whole_down, whole_across = down + beyond[0], across + beyond[1]

    def stack(count: int, height: int, width: int, wide: int, panel: int = 0) -> Stack:
        return grid(draw, device, Stack(np.empty((count, height * width + gap)), height, width, panel, wide))

    a = stack(down * across, *((depth, rows) if transposed else (rows, depth)), across)
    b = stack(whole_down * whole_across, depth, columns, whole_across, device.panel(columns))
    out = stack(whole_down * whole_across, rows, columns, whole_across)
    left, right = matrices(device, a, down, across), matrices(device, b, down, across)
    before = device.to_host(out.array).copy()
    wanted = before.copy()
    corner_of_it = wanted[:, : rows * columns].reshape(-1, whole_across, rows, columns)[:down, :across]
    product = (left.swapaxes(-1, -2) if transposed else left) @ right
    corner_of_it[...] = product + (corner_of_it if add else 0)

    device.multiply(a, b, out, transposed=transposed, add=add)
    np.testing.assert_allclose(device.to_host(out.array), wanted, rtol=1e-5, atol=1e-5)
    # gaps, and what lies beyond the corner, stay as they were
    assert (device.to_host(out.array) == before)[wanted == before].all()
    assert machine.violations == []


def test_a_product_that_is_not_added_does_not_read_its_result() -> None:
    device = device_of(Machine())
    one, result = (device.to_device(np.full((1, 1), value, np.float32)) for value in (3, np.nan))
    device.multiply(Stack.of(one), Stack.of(one), Stack.of(result))
    assert device.to_host(result).tolist() == [[9]]


@pytest.mark.parametrize(("capability", "size"), [((7, 5), WORKSPACE_BYTES), ((9, 0), LARGE_WORKSPACE_BYTES)])
def test_a_handle_is_made_once_and_told_of_a_new_stream(capability: tuple[int, int], size: int) -> None:
    machine = Machine()
    device = device_of(machine, capability)
    calls, (one, out) = device._cublas.library.calls, (device.to_device(np.ones((2, 2), np.float32)) for _ in range(2))

    def multiply() -> None:
        device.multiply(Stack.of(one), Stack.of(one), Stack.of(out))

    assert sum(calls.values()) == 0
    multiply()
    multiply()
    assert (calls["cublasCreate_v2"], calls["cublasSetStream_v2"], calls["cublasSgemm_v2"]) == (1, 1, 2)
    with device.streams.step():
        multiply()
    multiply()
    assert (calls["cublasCreate_v2"], calls["cublasSetStream_v2"], calls["cublasSetWorkspace_v2"]) == (1, 3, 3)
    assert machine.memory.view(device._cublas._workspace.data.ptr, (size // 4,), (4,)).nbytes == size
    assert device.to_host(out).tolist() == [[2, 2], [2, 2]]


@pytest.mark.parametrize("wrong", ["dtype", "order", "size"])
def test_an_array_that_cublas_would_misread_is_refused(wrong: str) -> None:
    device = device_of(Machine())
    fine = device.to_device(np.ones((4, 4), np.float32))
    arrays = {"dtype": fine.astype(np.float64), "order": fine.T, "size": fine[:, :3].copy()}
    bad = Stack(arrays[wrong].reshape(1, -1) if wrong == "dtype" else arrays[wrong], 4, 4)
    with pytest.raises(ValueError, match="multiply: b must be float32, C-contiguous and at least 4 x 4"):
        device.multiply(Stack.of(fine), bad, Stack.of(fine))


def test_a_status_is_an_error_with_its_name() -> None:
    device = device_of(Machine())
    one = Stack.of(device.to_device(np.ones((1, 1), np.float32)))
    device.multiply(one, one, one)
    library = device._cublas._library
    for status, name in ((13, "EXECUTION_FAILED"), (99, "99")):
        failing = CFUNCTYPE(c_int, *library.cublasSgemm_v2.argtypes)(lambda *_, status=status: status)
        library.cublasSgemm_v2 = failing
        with pytest.raises(CublasError, match=f"cublasSgemm_v2 says CUBLAS_STATUS_{name}"):
            device.multiply(one, one, one)


def test_a_product_that_cannot_be_recorded_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """As CuPy's own products cannot: the warning says which call it was."""
    training = Training(psp_slope=1.0)
    cupy, out = training.device.xp, training.device.xp.empty((8, 8), np.float32)
    real = training.net.differentiate

    def faulty(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        cupy.matmul(out, out, out=out)

    training.net.differentiate = faulty  # type: ignore[method-assign]
    training.steps()
    assert training.step.graphs == 0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "given to cuBLAS by CuPy" in record.getMessage()


@pytest.fixture
def cupy() -> ModuleType:
    try:
        return import_cupy()
    except ImportError as error:
        pytest.skip(str(error))


def test_without_a_library(cupy: ModuleType) -> None:
    other: Any = SimpleNamespace(cuda=SimpleNamespace(runtime=SimpleNamespace(runtimeGetVersion=lambda: 99000)))
    with pytest.raises(UserError, match=r"cuBLAS cannot be loaded \(libcublas\.so\.99"):
        load_library(other)


@pytest.mark.skipif(cuda_trouble() is None, reason="there is a GPU, on which cuBLAS sets itself up")
def test_nvidias_library_has_these_functions(cupy: ModuleType) -> None:
    """As far as it answers without a GPU."""
    with pytest.raises(CublasError, match="cublasCreate_v2 says CUBLAS_STATUS_NOT_INITIALIZED"):
        _ = Cublas(cupy, (9, 0))._handle


def test_a_cpu_adds_the_same() -> None:
    """The two devices' `multiply` mean the same."""
    draw, gpu, cpu = np.random.default_rng(1), device_of(Machine()), CpuDevice(1)
    a, b, out = (draw.standard_normal(size).astype(np.float32) for size in ((7, 5), (7, 40), (5, 40)))
    panels = np.zeros((2, 7, 32), np.float32)
    for panel in range(2):
        part = b[:, 32 * panel : 32 * (panel + 1)]
        panels[panel, :, : part.shape[1]] = part
    on_cpu, on_gpu = out.copy(), gpu.to_device(out.copy())
    cpu.multiply(Stack.of(a), Stack(panels.reshape(1, -1), 7, 40, 32), Stack.of(on_cpu), transposed=True, add=True)
    gpu.multiply(*(Stack.of(gpu.to_device(x)) for x in (a, b)), Stack.of(on_gpu), transposed=True, add=True)
    np.testing.assert_allclose(gpu.to_host(on_gpu), on_cpu, rtol=1e-5, atol=1e-5)
