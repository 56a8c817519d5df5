"""Threads that cannot be started: a sentence, and none of the work begins."""

import threading

import numpy as np
import pytest

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.machine.threads import ThreadPool, ThreadStartError
from ttfs_cupy.data import Batches, ImageSet
from ttfs_cupy.device import CpuDevice

REAL = threading.Thread.start


def only(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the system has so many threads."""
    left = iter(range(count))

    def start(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        REAL(thread)

    monkeypatch.setattr(threading.Thread, "start", start)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_task_begins_unless_all_threads_have_started(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    with ThreadPool(3) as pool:
        with monkeypatch.context() as patch:
            only(count, patch)
            for _ in range(2):
                with pytest.raises(ThreadStartError, match="no further thread can be started: use fewer threads"):
                    pool.submit(done.append, 1)
        # later there are some again
        pool.submit(done.append, 2).result()
    assert done == [2]


def test_another_error_is_not_taken_for_that() -> None:
    pool = ThreadPool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(print)


def test_all_start_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPool(3) as pool:
        assert pool.submit(threading.active_count).result() >= 4
        only(0, monkeypatch)
        # each takes one, and gives it back
        for number in range(20):
            assert pool.submit(lambda number=number: number).result() == number


def test_a_device_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ttfs_cupy.common.machine.cores.usable_cores", lambda: 4)
    device = CpuDevice(4)
    values = np.zeros(200_000, np.float32)
    with monkeypatch.context() as patch:
        only(2, patch)
        with pytest.raises(ThreadStartError):
            device.launch("fill", values.size, values, 1.0, values.size)
        with pytest.raises(ThreadStartError):
            device.parallel(4, lambda task, worker: values.fill(2))
    assert not values.any()
    # two have started by now, and the fourth is the one that calls
    only(1, monkeypatch)
    device.launch("fill", values.size, values, 1.0, values.size)
    assert (values == 1).all()


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    images = ImageSet(np.zeros((4, 2, 2, 1), np.uint8), np.zeros(4, np.int32), 1)
    batches = Batches(images, 2, encode=lambda pixels: pixels)
    only(0, monkeypatch)
    with pytest.raises(ThreadStartError):
        next(batches.epoch(0))


def test_wherever_it_happens_in_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    only(0, monkeypatch)
    assert command_line.run(lambda: threading.Thread(target=print).start()) == 2
    assert capsys.readouterr().err == f"error: {ThreadStartError()}\n"
