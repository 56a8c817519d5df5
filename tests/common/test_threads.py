"""Threads that cannot be started: a sentence, and none of the work begins. Ctrl-C: none of them waits for ever."""

import gc
import os
import sys
import threading
import time
import weakref
from contextlib import suppress

import numpy as np
import pytest
from helpers.environments import REPOSITORY
from helpers.processes import started
from helpers.waiting import wait_until

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.machine.threads import PoolEndedError, ThreadPool, ThreadStartError
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
    with ThreadPool(3, "test") as pool:
        with monkeypatch.context() as patch:
            only(count, patch)
            for _ in range(2):
                with pytest.raises(ThreadStartError, match="no further thread can be started: use fewer threads"):
                    pool.submit(done.append, 1)
        # later there are some again
        pool.submit(done.append, 2).result()
    assert done == [2]


def test_a_call_alone_needs_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    only(0, monkeypatch)
    done: list[int] = []
    with ThreadPool(3, "test") as pool:
        pool.run([lambda: done.append(1)])
    for device, tasks in ((CpuDevice(1), 3), (CpuDevice(), 1), (CpuDevice(), 0)):
        device.parallel(tasks, lambda task, worker: done.append(task))
    assert done == [1, 0, 1, 2, 0]


def test_nothing_begins_after_the_end() -> None:
    pool = ThreadPool(1, "test")
    pool.end()
    for begin in (lambda: pool.submit(print), lambda: pool.run([print, print])):
        with pytest.raises(PoolEndedError, match="this pool of threads has ended"):
            begin()


def fail(words: str) -> None:
    raise ValueError(words)


def test_a_failure_is_raised_when_all_calls_are_over() -> None:
    done: list[int] = []

    def slow() -> None:
        time.sleep(0.01)
        done.append(1)

    with ThreadPool(3, "test") as pool:
        for calls in (
            [slow, lambda: fail("this one"), slow, lambda: fail("another")],
            [lambda: fail("this one"), slow, lambda: fail("another")],
        ):
            with pytest.raises(ValueError, match="this one"):
                pool.run(calls)
            count = len(done)
            time.sleep(0.03)
            assert len(done) == count
        with pytest.raises(ValueError, match="that one"):
            pool.submit(fail, "that one").result()
        pool.run([slow, slow, slow, slow, slow])
        assert len(done) >= 7


def test_what_has_failed_is_not_kept() -> None:
    """An error's traceback has frames, and these arrays: they are to go with the error, before a collection."""

    class Large:
        pass

    def call() -> None:
        held.append(weakref.ref(large := Large()))
        raise ValueError(str(large))

    held: list[weakref.ref[Large]] = []
    gc.collect()
    gc.disable()
    try:
        with ThreadPool(2, "test") as pool:
            for act in (lambda: pool.run([lambda: None, call]), lambda: pool.submit(call).result()):
                with suppress(ValueError):
                    act()
                # the thread lets go of its task a moment after that is over
                pool.submit(lambda: None).result()
                wait_until(lambda: held[-1]() is None)
    finally:
        gc.enable()
    assert len(held) == 2


def test_the_end_waits_for_what_is_under_way_and_begins_nothing() -> None:
    begun, may_end, done, pool = threading.Event(), threading.Event(), [], ThreadPool(1, "test")

    def slow() -> None:
        begun.set()
        may_end.wait()
        time.sleep(0.02)
        done.append("slow")

    under_way, waiting = pool.submit(slow), pool.submit(done.append, "next")
    begun.wait()
    pool._workers.is_closed = True
    may_end.set()
    pool.end()
    assert done == ["slow"] and under_way.result() is None
    # whoever waits for it learns that
    wait_until(lambda: waiting.is_over)
    with pytest.raises(PoolEndedError):
        waiting.result()


def test_a_thread_that_is_being_started_as_the_pool_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, told = ThreadPool(2, "late"), list[str]()
    second, may_start = threading.Event(), threading.Event()

    def start(thread: threading.Thread) -> None:
        if thread.name == "late_1":
            second.set()
            may_start.wait()
        REAL(thread)

    def submit() -> None:
        with pytest.raises(PoolEndedError):
            pool.submit(print)
        told.append("ended")

    monkeypatch.setattr(threading.Thread, "start", start)
    user = threading.Thread(target=submit)
    user.start()
    second.wait()
    pool.end()
    may_start.set()
    user.join()
    assert told == ["ended"]
    wait_until(lambda: not any(thread.name.startswith("late_") for thread in threading.enumerate()))


def test_threads_end_with_the_last_user_of_their_pool() -> None:
    pool = ThreadPool(2, "forgotten")
    pool.submit(print).result()
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("forgotten")]
    assert len(threads) == 2
    del pool
    gc.collect()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


BEGINNING = """
import os, signal, sys, threading, time, warnings
from contextlib import suppress
from ttfs_cupy.common.machine.threads import PoolEndedError, ThreadPool
begun = threading.Event()
"""
ENDS = {
    "a call under way is waited for": """
def slow():
    begun.set(); time.sleep(0.3); print('done', flush=True)
pool = ThreadPool(2, 'test')
pool.submit(slow); begun.wait()
""",
    # as a batch does whose encoder runs kernels
    "a call under way waits for one of another pool": """
def outer():
    begun.set()
    with suppress(PoolEndedError):
        busy.run([lambda: None, lambda: None])
    print('done', flush=True)
busy, other = ThreadPool(1, 'busy'), ThreadPool(1, 'other')
busy.submit(time.sleep, 0.5)
other.submit(outer); begun.wait()
""",
    "an interrupted end": """
def slow():
    begun.set(); has_left.wait(30); time.sleep(0.2); print('done' if has_left.is_set() else 'too early', flush=True)
has_left, pool = threading.Event(), ThreadPool(1, 'test')
pool.submit(slow); begun.wait()
try:
    threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
    pool.end()
except KeyboardInterrupt:
    has_left.set()
    del pool
""",
    "a forked child, which has no threads": """
pool = ThreadPool(2, 'test')
pool.submit(begun.set).result()
warnings.simplefilter('ignore')  # Python 3.12 warns of threads
child = os.fork()
if child == 0:
    sys.exit(3)
_, status = os.waitpid(child, 0)
print('done' if os.waitstatus_to_exitcode(status) == 3 else status)
""",
}


@pytest.mark.parametrize("name", ENDS)
def test_python_ends_with_a_pool_that_nobody_has_ended(name: str) -> None:
    process = started([sys.executable, "-c", BEGINNING + ENDS[name]])
    try:
        assert process.communicate(timeout=60) == ("done\n", "")
    finally:
        process.kill()


@pytest.mark.parametrize("what", ["run", "failure", "submit", "end"])
def test_ctrl_c_at_any_bytecode_leaves_no_thread_waiting(what: str) -> None:
    """Python's own pool breaks at some of them, and hangs at others."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")}
    process = started([sys.executable, "-m", "helpers.interrupted_pools", what], environment)
    try:
        out, err = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert int(out) > 100


def test_all_start_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPool(3, "test") as pool:
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


def test_wherever_it_happens_in_a_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    only(0, monkeypatch)
    assert command_line.run(lambda: threading.Thread(target=print).start()) == 2
    assert capsys.readouterr().err == f"error: {ThreadStartError()}\n"
