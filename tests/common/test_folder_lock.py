"""A folder that one process at a time works in."""

import errno
import gc
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from helpers.children import Child
from hypothesis import given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import folder_lock
from ttfs_cupy.common.files.folder_lock import NAME, FolderLock, InUseError


@contextmanager
def another_process_at_work(folder: Path, said: Path) -> Iterator[Child]:
    """Has it locked when the block begins; killed at its end, if it still lives."""
    reading, writing = os.pipe()

    def work() -> int:
        with FolderLock(folder).at_work():
            os.write(writing, b"x")
            signal.pause()
        return 0

    child = Child(work, said)
    try:
        os.read(reading, 1)
        yield child
    finally:
        child.kill()
        child.wait()
        os.close(reading)
        os.close(writing)


def test_another_process_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with another_process_at_work(folder, tmp_path / "said") as child:
        message = f"'{folder}' is in use by process {child.pid} on {socket.gethostname()}"
        for make_folder in (False, True):
            with pytest.raises(InUseError) as caught:
                FolderLock(folder).take(make_folder=make_folder)
            assert str(caught.value) == message
    # killed: its file is still there, and keeps nobody out
    assert (folder / NAME).exists()
    lock = FolderLock(folder)
    assert lock.owner() is None
    lock.take()
    assert lock.owner() == "this process"
    lock.release()
    assert list(folder.iterdir()) == []


def test_it_is_tidied_when_it_is_taken_not_when_it_is_passed_on(tmp_path: Path) -> None:
    """The first object's user may be writing there, in no block."""
    tidied: list[int] = []
    first, second = (FolderLock(tmp_path, lambda number=number: tidied.append(number)) for number in (1, 2))
    first.take()
    second.take()
    with first.at_work():
        pass
    assert tidied == [1]
    second.take()
    assert tidied == [1, 2]


def test_folders_made_for_it_go_if_they_are_empty(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    lock = FolderLock(folder)
    lock.take(make_folder=True)
    lock.release()
    assert list(tmp_path.iterdir()) == []

    lock.take(make_folder=True)
    (folder.parent / "kept").touch()
    lock.release()
    assert [path.name for path in folder.parent.iterdir()] == ["kept"]

    # this one was there
    folder.mkdir()
    lock.take(make_folder=True)
    lock.release()
    assert folder.is_dir()


def test_a_lock_that_nobody_refers_to_any_more(tmp_path: Path) -> None:
    FolderLock(tmp_path / "folder").take(make_folder=True)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_within_a_process_it_passes_on_unless_somebody_is_at_work(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    first.take()
    with second.at_work(), pytest.raises(InUseError, match="in use by this process"):
        first.take()
    with first.at_work(), first.at_work():
        pass
    assert not (tmp_path / NAME).exists()

    first.take()
    # a new folder is nobody's but the maker's
    with pytest.raises(InUseError):
        second.take(make_folder=True)
    second.take()
    # no longer its own
    first.release()
    assert (tmp_path / NAME).exists()
    second.release()
    assert not (tmp_path / NAME).exists()


def test_a_forked_child_has_no_part_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    lock = FolderLock(folder)
    lock.take(make_folder=True)

    def work() -> int:
        try:
            with lock.at_work():
                return 0
        except InUseError:
            lock.release()
            return 5

    assert Child(work, tmp_path / "said").wait().code == 5
    assert lock.owner() == "this process"


def test_the_threads_of_one_object_are_at_work_one_at_a_time(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    attempts: list[Callable[[], object]] = [lock.take, lambda: ExitStack().enter_context(lock.at_work())]
    with ThreadPoolExecutor(1) as other:
        with lock.at_work(), lock.at_work():
            for attempt in attempts:
                with pytest.raises(InUseError, match="in use by another thread of this process"):
                    other.submit(attempt).result()
            # not that thread's to give away
            other.submit(lock.release).result()
            with pytest.raises(InUseError, match="in use by this process"):
                FolderLock(tmp_path).take()
        other.submit(lock.take).result()
        # held, with nobody at work
        with lock.at_work():
            pass
    assert list(tmp_path.iterdir()) == []


def test_threads_with_one_object(tmp_path: Path) -> None:
    lock, inside, most, done = FolderLock(tmp_path), 0, 0, 0
    start = threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most, done
        start.wait()
        for _ in range(200):
            with suppress(InUseError), lock.at_work():
                inside += 1
                # lets the others try
                time.sleep(0)
                most = max(most, inside)
                inside -= 1
                done += 1

    with ThreadPoolExecutor(4) as pool:
        for ended in [pool.submit(work) for _ in range(4)]:
            ended.result()
    assert most == 1 and done
    assert list(tmp_path.iterdir()) == []


def test_a_child_does_not_wait_for_its_parent_s_threads(tmp_path: Path) -> None:
    """One of them is in the middle of something as the process is forked."""
    inside, go_on = threading.Event(), threading.Event()

    def tidy() -> None:
        inside.set()
        go_on.wait(20)

    (tmp_path / "busy").mkdir()
    (tmp_path / "idle").mkdir()

    def work() -> int:
        signal.alarm(10)
        with FolderLock(tmp_path / "idle").at_work():
            return 5

    with ThreadPoolExecutor(1) as other:
        taking = other.submit(FolderLock(tmp_path / "busy", tidy).take)
        inside.wait(20)
        child = Child(work, tmp_path / "said")
        outcome = child.wait()
        go_on.set()
        taking.result()
    assert outcome.code == 5


def test_a_lock_is_free_once_its_process_has_ended_whatever_that_has_forked(tmp_path: Path) -> None:
    folder, reading_writing = tmp_path / "folder", os.pipe()
    folder.mkdir()

    def work() -> int:
        with FolderLock(folder).at_work():
            # a worker that outlives it
            pid = os.fork()
            if not pid:
                os.close(reading_writing[1])
                os.read(reading_writing[0], 1)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert Child(work, tmp_path / "said").wait().code == -signal.SIGKILL
    try:
        with FolderLock(folder).at_work():
            pass
    finally:
        for descriptor in reading_writing:
            os.close(descriptor)


def test_a_child_that_leaves_its_parent_s_block(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "folder")
    lock.take(make_folder=True)

    def work() -> int:
        # what a fork in a block of its parent's does at the block's end
        stack.close()
        return 5 if lock.owner() == f"process {os.getppid()} on {socket.gethostname()}" else 6

    with ExitStack() as stack:
        stack.enter_context(lock.at_work())
        assert Child(work, tmp_path / "said").wait().code == 5
        assert lock.owner() == "this process"


def test_a_folder_that_was_removed_is_locked_anew(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    lock = FolderLock(folder)
    lock.take(make_folder=True)
    (folder / NAME).unlink()
    folder.rmdir()
    other = FolderLock(folder)
    other.take(make_folder=True)
    with pytest.raises(InUseError):
        lock.take(make_folder=True)
    lock.release()
    assert (folder / NAME).exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    with first.at_work(), pytest.raises(InUseError, match="may be in use by this process, and its file system"):
        second.take()
    first.take()
    # within a process it passes on here, too
    with second.at_work():
        pass
    assert not (tmp_path / NAME).exists()
    # there the signature counts
    (tmp_path / NAME).write_text("7 other\n")
    assert first.owner() == "process 7 on other"
    # of a process that was killed
    (tmp_path / NAME).write_text(f"{2**22 + 1} {socket.gethostname()}\n")
    with pytest.raises(InUseError) as caught:
        second.take()
    assert f"by a process that has ended, and its file system keeps no locks ({os.strerror(number)})" in str(
        caught.value
    )
    assert f"remove {tmp_path / NAME}" in str(caught.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderLock(tmp_path / "absent").take()
    (tmp_path / "link").symlink_to(tmp_path / "absent")
    with pytest.raises(OSError, match="exists"):
        FolderLock(tmp_path / "link").take(make_folder=True)


@pytest.mark.parametrize("name", ["run", "deep/run", "."])
def test_a_folder_in_one_that_has_been_removed(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        FolderLock(Path(name)).take(make_folder=True)


def test_a_folder_that_others_keep_removing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is at work there, so this is no InUseError."""

    def gone(path: Path) -> tuple[int, bool]:
        path.parent.rmdir()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    monkeypatch.setattr(folder_lock, "_open", gone)
    with pytest.raises(UserError, match="cannot be had: other processes keep making and removing it") as caught:
        FolderLock(tmp_path / "folder").take(make_folder=True)
    assert not isinstance(caught.value, InUseError)
    assert list(tmp_path.iterdir()) == []


def test_threads_that_make_and_remove_one_folder(tmp_path: Path) -> None:
    """At most one is in it at a time, and what one removes is no trouble to another."""
    folder, inside, most, refused = tmp_path / "deep" / "folder", 0, 0, 0
    start = threading.Barrier(4)

    def work() -> None:
        nonlocal inside, most, refused
        start.wait()
        for _ in range(200):
            lock = FolderLock(folder)
            try:
                lock.take(make_folder=True)
            except InUseError:
                refused += 1
                continue
            inside += 1
            most = max(most, inside)
            inside -= 1
            lock.release()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert most == 1
    assert refused < 800
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["take", "make", "release", "work", "rest"]))))
def test_at_most_one_has_it(steps: list[tuple[int, str]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        locks = [FolderLock(folder) for _ in range(3)]
        work = [ExitStack() for _ in locks]
        owner, busy = None, False
        for number, step in steps:
            lock = locks[number]
            if step == "release" and owner == number and not busy:
                lock.release()
                owner = None
            elif step == "rest" and busy and owner == number:
                work[number].close()
                owner, busy = None, False
            elif step in ("take", "make", "work"):
                refused = owner not in (None, number) and (busy or step == "make")
                try:
                    if step == "work":
                        work[number].enter_context(lock.at_work())
                        busy = True
                    else:
                        lock.take(make_folder=step == "make")
                except InUseError:
                    assert refused
                else:
                    assert not refused
                    owner = number
            assert (folder / NAME).exists() == (owner is not None)
        for stack, lock in zip(work, locks, strict=True):
            stack.close()
            lock.release()
        assert list(folder.iterdir()) == []
