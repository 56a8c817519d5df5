"""Every kernel against its float64 reference on the CPU, and that the checks would notice."""

import ctypes
import math

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.any_threads import AnyThreads

from ttfs_cupy.check.kernels import check_kernels, checks, registry
from ttfs_cupy.check.kernels.kernel_trial import KernelTrial
from ttfs_cupy.device import CpuDevice, initial_potential, reductions, standardization
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.gpu_limits import of_capability

KERNELS = tuple(source.kernels())
TOGETHER = tuple(
    variant.kernel for variant in (*reductions.VARIANTS, *standardization.VARIANTS, *initial_potential.VARIANTS)
)
OUTPUTS = [
    (kernel.name, place)
    for kernel in source.kernels().values()
    for place, parameter in enumerate(kernel.parameters)
    if parameter.is_pointer and not parameter.is_const
]


@pytest.fixture(scope="module")
def results():
    """By the number of threads, then by kernel."""
    return {threads: {result.kernel: result for result in check_kernels(AnyThreads(threads))} for threads in (1, 2, 3)}


def test_every_kernel_has_a_check_and_every_check_a_kernel():
    assert set(checks()) == {*KERNELS, *TOGETHER}


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernel_agrees_with_its_reference(results, kernel):
    for of_threads in results.values():
        result = of_threads[kernel]
        assert result.passed, f"{kernel}: {result.problem}"
        assert result.largest_error <= result.tolerance <= 2e-6


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_bits_do_not_depend_on_the_number_of_threads(results, kernel):
    assert len({of_threads[kernel].digest for of_threads in results.values()}) == 1


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize("kernel", TOGETHER)
def test_a_gpus_reduction_agrees_with_its_reference(kernel):
    digests = set()
    for seed in (0, 1000):
        (result,) = check_kernels(EmulatedGpu(seed=seed), [kernel])
        assert result.passed, f"{kernel}: {result.problem}"
        assert result.largest_error <= result.tolerance <= 2e-6
        digests.add(result.digest)
    assert len(digests) == 1


def test_a_gpu_has_its_reductions_checked():
    class Gpu(CpuDevice):
        target, gpu = "cuda", of_capability((9, 0), 132)

    assert set(registry.kernels_of(Gpu(1))) == {*source.kernels("cuda"), *TOGETHER}
    assert registry.kernels_of(CpuDevice(1)) == list(KERNELS)


class Spoiled(CpuDevice):
    """Does what a device does, and then something to the arguments of every launch."""

    def __init__(self, spoil):
        super().__init__(1)
        self._spoil = spoil

    def launch(self, kernel, work, *arguments, each=1):
        super().launch(kernel, work, *arguments, each=each)
        self._spoil(work, arguments)


@pytest.mark.parametrize(("kernel", "place"), OUTPUTS)
def test_one_wrong_element_is_noticed(kernel, place):
    def change_one(_, arguments):
        if arguments[place] is None:
            return
        flat = arguments[place].reshape(-1)
        if flat.dtype.kind == "f":
            flat[-1] += max(1e-3, 1e-3 * abs(float(flat[-1])))
        else:
            flat[-1] ^= 1

    (result,) = check_kernels(Spoiled(change_one), [kernel])
    assert not result.passed
    assert result.largest_error > result.tolerance or result.problem


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda work, arguments: arguments[0].__setitem__(3, 7.0), "declares const"),
        (lambda work, arguments: arguments[6].__setitem__(-1, work), "size of the grid"),
        (lambda work, arguments: ctypes.memset(arguments[6].ctypes.data + arguments[6].nbytes, 0, 4), "outside"),
        (lambda work, arguments: ctypes.memset(arguments[6].ctypes.data - 4, 0, 4), "outside"),
        (lambda work, arguments: arguments[6].__setitem__(5, np.nan), "error inf"),
        (lambda work, arguments: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_what_no_value_shows_is_noticed(spoil, problem):
    (result,) = check_kernels(Spoiled(spoil), ["fire"])
    assert not result.passed
    assert problem in result.problem


def test_a_failing_kernel_does_not_stop_the_others():
    def fail(_, arguments):
        if len(arguments) == 9:
            raise RuntimeError("out of order")

    failed, fine = check_kernels(Spoiled(fail), ["fire", "copy"])
    assert (failed.passed, failed.problem, failed.largest_error) == (False, "RuntimeError: out of order", math.inf)
    assert fine.passed


def test_a_kernel_without_a_check_fails(monkeypatch):
    monkeypatch.delitem(registry.checks(), "copy")
    (result,) = check_kernels(CpuDevice(1), ["copy"])
    assert not result.passed and "no check" in result.problem


def test_two_checks_of_one_name_are_refused():
    def copy(trial):
        pass

    with pytest.raises(ValueError, match="copy has two checks"):
        registry.check(tolerance=0.0)(copy)


@pytest.mark.parametrize(
    ("actual", "expected", "scale", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], None, 0.0),
        ([1.5], [1.0], None, 0.5),
        ([3.0], [2.0], 4.0, 0.25),
        ([1e-9], [0.0], None, math.inf),
        ([1e-40], [0.0], None, 0.0),  # a GPU flushes it
        ([np.nan], [np.nan], 0.0, 0.0),
        ([np.nan], [1.0], None, math.inf),
        ([1.0], [np.nan], None, math.inf),
        ([np.inf], [np.inf], None, 0.0),
        ([np.inf], [1.0], None, math.inf),
        ([1.0], [np.inf], None, math.inf),
    ],
)
def test_the_error_of_a_comparison(actual, expected, scale, error):
    trial = KernelTrial(source.kernels()["copy"], CpuDevice(1))
    trial.compare(np.array(actual, np.float32), np.array(expected), scale)
    assert trial.largest_error == pytest.approx(error)
