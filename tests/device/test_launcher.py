"""The launcher refuses what a kernel does not declare, and says which kernel and which parameter."""

import numpy as np
import pytest

from ttfs_cupy.device import CpuDevice, launcher
from ttfs_cupy.device.compilation import source
from ttfs_cupy.device.launcher import checked_arguments

FIRE = source.kernels()["fire"]  # drive, weight_sum, psp_slope, scale, t_win, initial, earliness, channels, n
KEEP_SIGN = source.kernels()["keep_sign"]  # weights, birth_sign, n


def floats(*shape):
    return np.ones(shape, np.float32)


SCALARS = {"scale": 1.0, "t_win": 1.0, "initial": None, "earliness": floats(4), "channels": 1, "n": 4}


def checked(**changes):
    arguments = {"drive": floats(4), "weight_sum": floats(4), "psp_slope": floats(1), **SCALARS, **changes}
    return checked_arguments(FIRE, tuple(arguments.values()), np.ndarray)


class ForeignArray:
    """An array of another library, that NumPy would take without a word."""

    def __array__(self, dtype=None, copy=None):
        return floats(4)


def read_only():
    array = floats(4)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"drive": np.ones(4)}, TypeError, "fire: drive must be float32, not float64"),
        ({"drive": np.ones(4, np.int32)}, TypeError, "drive must be float32, not int32"),
        ({"drive": np.ones(4, ">f4")}, TypeError, "drive must be float32, not >f4"),
        ({"earliness": np.ones(4, np.float16)}, TypeError, "earliness must be float32, not float16"),
        ({"drive": floats(2, 4)[:, :2]}, ValueError, "drive must be C-contiguous"),
        ({"drive": floats(2, 3).T}, ValueError, "drive must be C-contiguous"),
        ({"drive": floats(8)[::2]}, ValueError, "drive must be C-contiguous"),
        ({"earliness": read_only()}, ValueError, "earliness is written to, but is read-only"),
        ({"drive": ForeignArray()}, TypeError, "drive must be a numpy.ndarray on the device.*ForeignArray"),
        ({"drive": [1.0, 2.0]}, TypeError, "drive must be a numpy.ndarray.*list"),
        ({"drive": None}, TypeError, "drive must be a numpy.ndarray.*NoneType"),
        ({"drive": 3.0}, TypeError, "drive must be a numpy.ndarray.*float"),
        ({"drive": np.float32(3)}, TypeError, "drive must be a numpy.ndarray.*float32"),
        ({"n": 4.0}, TypeError, "n must be an integer, not float 4.0"),
        ({"n": np.float32(4)}, TypeError, "n must be an integer"),
        ({"n": True}, TypeError, "n must be an integer, not bool True"),
        ({"n": np.True_}, TypeError, "n must be an integer, not bool"),
        ({"n": "4"}, TypeError, "n must be an integer, not str '4'"),
        ({"n": floats(1)}, TypeError, "n must be an integer, not ndarray"),
        ({"n": 2**31}, ValueError, "n = 2147483648 does not fit int"),
        ({"n": -(2**31) - 1}, ValueError, "n = -2147483649 does not fit int"),
        ({"scale": True}, TypeError, "scale must be a number, not bool True"),
        ({"scale": "1"}, TypeError, "scale must be a number, not str '1'"),
        ({"scale": None}, TypeError, "scale must be a number, not NoneType"),
        ({"scale": 1j}, TypeError, "scale must be a number, not complex"),
    ],
)
def test_refused_by_name(changes, error, said):
    with pytest.raises(error, match=said) as caught:
        checked(**changes)
    assert "kernel fire" in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [(), (floats(4),), (floats(4), None, floats(1), 1.0, 1.0, None, floats(4), 1, 4, 4)]
)
def test_a_wrong_count_names_what_is_taken(arguments):
    with pytest.raises(TypeError, match=rf"fire takes 9 arguments \(drive, weight_sum, .* n\), not {len(arguments)}"):
        checked_arguments(FIRE, arguments, np.ndarray)


def test_an_optional_array_may_be_left_out():
    assert checked(weight_sum=None)[1] is None
    with pytest.raises(TypeError, match=r"psp_slope must be a numpy.ndarray.*NoneType"):
        checked(psp_slope=None)


def test_unsigned_bytes_are_not_signed_ones():
    with pytest.raises(TypeError, match="birth_sign must be int8, not uint8"):
        checked_arguments(KEEP_SIGN, (floats(4), np.ones(4, np.uint8), 4), np.ndarray)


def test_more_elements_than_kernels_count(monkeypatch):
    monkeypatch.setattr(launcher, "MAX_ELEMENTS", 3)
    with pytest.raises(ValueError, match="drive: 4 elements at once are above 3; use a smaller batch"):
        checked()


def test_scalars_become_what_is_declared():
    *_, scale, t_win, _, _, _, n = checked(scale=2, t_win=np.float64(0.1), n=np.int64(4))
    assert [(type(value), value) for value in (scale, t_win, n)] == [(float, 2.0), (float, 0.1), (int, 4)]


def test_arrays_pass_as_they_are():
    drive = floats(2, 2)
    drive.flags.writeable = False  # nobody writes to it
    assert checked(drive=drive)[0] is drive


def test_launch_bounds_may_stand_before_a_kernels_name():
    text = "KERNEL void __launch_bounds__(256, 1)\nadd(const float* __restrict__ x, float* sum, int n) {}"
    (kernel,) = source.declared(text, "file")
    assert (kernel.name, kernel.file, [p.name for p in kernel.parameters]) == ("add", "file", ["x", "sum", "n"])


class TestLaunch:
    def test_a_refusal_launches_nothing(self):
        earliness = np.full(4, 7, np.float32)
        with pytest.raises(TypeError, match="n must be an integer"):
            CpuDevice(1).launch("fire", 4, floats(4), None, floats(1), 1.0, 1.0, None, earliness, 1, 4.0)
        assert (earliness == 7).all()

    @pytest.mark.parametrize("work", [0, -1])
    def test_an_empty_grid_launches_nothing(self, work):
        earliness = np.full(4, 7, np.float32)
        CpuDevice(1).launch("fire", work, floats(4), None, floats(1), 1.0, 1.0, None, earliness, 1, 4)
        assert (earliness == 7).all()

    def test_a_launch_that_is_not_empty_writes(self):
        earliness = np.full(4, 7, np.float32)
        CpuDevice(1).launch("fire", 4, floats(4), None, floats(1), 0.5, 1.0, None, earliness, 1, 4)
        assert (earliness == 0.5).all()

    def test_more_work_than_kernels_count(self):
        with pytest.raises(ValueError, match="fire: 2147483648 elements at once are above"):
            CpuDevice(1).launch("fire", 2**31, floats(4), None, floats(1), 1.0, 1.0, None, floats(4), 1, 4)

    def test_an_unknown_kernel(self):
        with pytest.raises(KeyError, match="nonsense"):
            CpuDevice(1).launch("nonsense", 4)
