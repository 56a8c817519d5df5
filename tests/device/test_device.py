"""Devices by name, the CPU's threads, and that the bits do not depend on their number."""

import pickle
import threading
import time

import numpy as np
import pytest
from helpers.any_threads import AnyThreads

from ttfs_cupy import device as devices
from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine import cores
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.libraries import cupy_library
from ttfs_cupy.engine.optimizer import Adam


class TestGet:
    @pytest.fixture(autouse=True)
    def no_wish(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def test_cpu(self, monkeypatch):
        monkeypatch.setattr(cores, "usable_cores", lambda: 4)
        device, reason = devices.get_device("cpu", threads=3)
        assert (device.name, device.workers, reason) == ("cpu", 3, "asked for")
        assert device.description == "CPU, 3 threads"

    def test_all_cores_unless_told_otherwise(self):
        assert devices.get_device("cpu")[0].workers == cores.available_cores() >= 1

    @pytest.mark.parametrize("threads", [5, 10**6, 2**31 - 1])
    def test_no_more_threads_than_cores(self, threads, monkeypatch):
        monkeypatch.setattr(cores, "usable_cores", lambda: 4)
        monkeypatch.setattr(devices, "cuda_trouble", lambda: "no GPU")
        device, reason = devices.get_device("cpu", threads)
        assert (device.workers, reason) == (4, "asked for; threads is more than its 4 cores")
        assert devices.get_device("auto", threads)[1] == "no GPU; threads is more than its 4 cores"

    @pytest.mark.parametrize("threads", [5, 10**6, np.int64(64)])
    def test_a_device_of_more_threads_than_cores(self, threads, monkeypatch):
        """It had as many as it was asked for, and its pickle as many as the machine that wrote it."""
        monkeypatch.setattr(cores, "usable_cores", lambda: 4)
        device = CpuDevice(threads)
        assert (device.workers, device.threads_note) == (4, "threads is more than its 4 cores")
        pickled = pickle.dumps(device)
        monkeypatch.setattr(cores, "usable_cores", lambda: 1)
        opened = pickle.loads(pickled)
        assert (opened.workers, opened.description) == (1, "CPU, 1 thread")
        assert opened.threads_note == "threads is more than its 1 core"

    @pytest.mark.parametrize("threads", [0, -1, 2.5, "2", True])
    def test_threads_that_are_none(self, threads):
        for make in (CpuDevice, lambda threads: devices.get_device("cpu", threads)):
            with pytest.raises(UserError, match=r"^threads must be a whole number from 1, not "):
                make(threads)

    @pytest.mark.parametrize(
        ("text", "threads", "note"),
        [
            ("64", 4, "; OMP_NUM_THREADS is more than its 4 cores"),
            ("9" * 5000, 4, "; OMP_NUM_THREADS is more than its 4 cores"),
            ("two", 4, "; OMP_NUM_THREADS is ignored, as 'two' is no whole number from 1"),
            ("0", 4, "; OMP_NUM_THREADS is ignored, as '0' is no whole number from 1"),
            (",2", 4, "; OMP_NUM_THREADS is ignored, as ',2' is no whole number from 1"),
            ("x" * 5000, 4, f"; OMP_NUM_THREADS is ignored, as '{'x' * 56}... is no whole number from 1"),
            ("", 4, ""),
            (" ", 4, ""),
            ("3,1", 3, ""),
        ],
    )
    def test_what_is_said_of_omp_num_threads(self, text, threads, note, monkeypatch):
        monkeypatch.setattr(cores, "usable_cores", lambda: 4)
        monkeypatch.setattr(cores, "quota", lambda: 4.0)
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        device, reason = devices.get_device("cpu")
        assert (device.workers, reason) == (threads, f"asked for{note}")
        # of no interest where the config says it
        assert devices.get_device("cpu", 2)[1] == "asked for"

    def test_auto_falls_back_and_says_why(self, monkeypatch):
        monkeypatch.setattr(devices, "cuda_trouble", lambda: "the driver is on holiday")
        device, reason = devices.get_device()
        assert (device.name, reason) == ("cpu", "the driver is on holiday")

    @pytest.mark.parametrize("name", ["gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1.5", "cuda0", "", "cpu:0"])
    def test_unknown_name(self, name):
        with pytest.raises(UserError, match=f"device '{name}' is not known: use auto, cuda, cuda:N or cpu"):
            devices.get_device(name)

    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
    def test_a_gpu_that_cannot_be_used(self, name, monkeypatch):
        monkeypatch.setattr(devices, "cuda_trouble", lambda index=0: f"there is no number {index}")
        number = name.partition(":")[2] or "0"
        with pytest.raises(UserError, match=f"'{name}' cannot be used: there is no number {number}; device 'cpu'"):
            devices.get_device(name)


class TestTrouble:
    """What cuda_trouble says, with a driver that lets itself be loaded."""

    @pytest.fixture(autouse=True)
    def driver(self, monkeypatch):
        monkeypatch.setattr(cupy_library.ctypes, "CDLL", lambda name: None)

    def cupy(self, monkeypatch, count):
        class Runtime:
            getDeviceCount = staticmethod(count)  # noqa: N815

        class Cupy:
            class cuda:  # noqa: N801
                runtime = Runtime

        monkeypatch.setattr(cupy_library, "import_cupy", lambda: Cupy)

    def test_none(self, monkeypatch):
        self.cupy(monkeypatch, lambda: 2)
        assert devices.cuda_trouble(1) is None

    def test_no_such_gpu(self, monkeypatch):
        self.cupy(monkeypatch, lambda: 2)
        assert devices.cuda_trouble(2) == "there are GPUs 0 to 1 only"

    def test_no_gpu(self, monkeypatch):
        self.cupy(monkeypatch, lambda: 0)
        assert devices.cuda_trouble() == "the driver sees no GPU"

    @pytest.mark.parametrize(("message", "said"), [("broken\nat length", "broken"), ("", "RuntimeError")])
    def test_cupy_fails(self, message, said, monkeypatch):
        def fail():
            raise RuntimeError(message)

        self.cupy(monkeypatch, fail)
        assert devices.cuda_trouble() == f"CuPy cannot use the GPU ({said})"

    def test_the_driver_begins_before_cupy_which_keeps_pythons_lock(self, monkeypatch):
        calls = []

        class Driver:
            def cuInit(self, flags):  # noqa: N802
                calls.append(("cuInit", flags))

        def count():
            calls.append("getDeviceCount")
            return 1

        monkeypatch.setattr(cupy_library.ctypes, "CDLL", lambda name: Driver())
        self.cupy(monkeypatch, count)
        assert devices.cuda_trouble() is None
        assert calls == [("cuInit", 0), "getDeviceCount"]

    def test_no_driver(self, monkeypatch):
        def fail(name):
            raise OSError(name)

        monkeypatch.setattr(cupy_library.ctypes, "CDLL", fail)
        assert devices.cuda_trouble() == "this machine has no NVIDIA driver (libcuda.so.1)"


@pytest.mark.parametrize("threads", [1, 2, 5])
class TestParallel:
    @pytest.mark.parametrize("tasks", [0, 1, 2, 100])
    def test_each_task_once(self, threads, tasks):
        done, workers = [], set()

        def body(task, worker):
            done.append(task)
            workers.add(worker)

        AnyThreads(threads).parallel(tasks, body)
        assert sorted(done) == list(range(tasks))
        assert workers <= set(range(threads))

    def test_a_worker_has_its_buffers_to_itself(self, threads):
        at_work, clashes = [0] * threads, []

        def body(task, worker):
            at_work[worker] += 1
            time.sleep(0.001)
            clashes.append(at_work[worker] - 1)
            at_work[worker] -= 1

        AnyThreads(threads).parallel(30, body)
        assert not any(clashes)

    def test_an_exception_is_raised_after_all_have_stopped(self, threads):
        device, running = AnyThreads(threads), []

        def body(task, worker):
            running.append(task)
            try:
                if task == 2:
                    raise ArithmeticError("task 2")
                # a task that is still at work while another one fails
                time.sleep(0.02)
            finally:
                running.remove(task)

        with pytest.raises(ArithmeticError, match="task 2"):
            device.parallel(20, body)
        assert not running
        # and the device goes on
        device.parallel(3, lambda task, worker: running.append(task))
        assert sorted(running) == [0, 1, 2]


def test_failures_of_several_threads_leave_nobody_at_work():
    device, barrier, running = AnyThreads(4), threading.Barrier(4), set()

    def body(task, worker):
        running.add(task)
        barrier.wait(10)
        time.sleep(0.05 * task)  # they fail one after the other
        running.remove(task)
        raise ArithmeticError(f"task {task}")

    with pytest.raises(ArithmeticError):
        device.parallel(4, body)
    assert not running


def test_a_launch_inside_a_task_stays_on_its_thread():
    device = CpuDevice(2)
    values = [np.ones(100_003, np.float32) for _ in range(4)]
    source = np.full(100_003, 2, np.float32)
    device.parallel(4, lambda task, worker: device.launch("copy", source.size, source, values[task], source.size))
    assert all((array == 2).all() for array in values)


def test_arrays_that_are_there_already_are_not_copied():
    device, array = CpuDevice(1), np.ones((3, 4), np.float32)
    assert device.to_device(array) is array
    assert device.to_host(array) is array
    transposed = device.to_device(array.T)
    assert transposed.flags.c_contiguous and transposed.shape == (4, 3)


@pytest.mark.parametrize(("psp_slope", "clip"), [(1.0, "gain"), (1.0, "separate"), (0.0, "gain")])
def test_training_steps_give_the_same_bits_on_any_number_of_threads(psp_slope, clip):
    """Every algorithm of convolution, and arrays large enough that launches are shared out."""
    draw = np.random.default_rng(5)
    images, labels = draw.random((29, 3, 24, 22)).astype(np.float32), draw.integers(0, 10, 29)
    layers = [24, 32, "P", {"convolution": 40, "kernel": (3, 2), "stride": (2, 1), "padding": (1, 0)}, {"linear": 50}]

    def trained(threads):
        device = AnyThreads(threads)
        net = models.build(layers, input_shape=(3, 24, 22), device=device, psp_slope=psp_slope, clip=clip)
        encoded = net.encode(images)
        net.plan(len(images), training=True)
        optimizer = Adam(device, net.parameters)
        for _ in range(3):
            net.train_step(encoded, labels.astype(np.int32), optimizer)
        assert optimizer.counts.applied == 3
        return {**net.state_dict(), **optimizer.state_dict(), "potentials": net.forward(encoded)}

    first, *others = (trained(threads) for threads in (1, 2, 3))
    assert np.isfinite(first["potentials"]).all()
    for other in others:
        for name, array in first.items():
            assert array.tobytes() == other[name].tobytes(), name
