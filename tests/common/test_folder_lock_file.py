"""What is found in the place of a folder's lock, and whose it is then."""

import fcntl
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ttfs_cupy.common.files.folder_lock import NAME, FolderLock


@pytest.mark.parametrize("signature", ["1 {host}", "{process} {host}", "7 other"])
def test_what_a_killed_process_has_signed_is_nobodys(signature: str, tmp_path: Path) -> None:
    """Its number is another process's by now, or it ran on a host that has gone."""
    (tmp_path / NAME).write_text(signature.format(process=os.getpid(), host=socket.gethostname()) + "\n")
    lock = FolderLock(tmp_path)
    assert lock.owner() is None
    # whoever asks so has the file locked for a moment, and keeps nobody out
    with (tmp_path / NAME).open() as asking, ThreadPoolExecutor(1) as other:
        fcntl.flock(asking, fcntl.LOCK_SH)
        taking = other.submit(lock.take)
        time.sleep(0.1)
        fcntl.flock(asking, fcntl.LOCK_UN)
        taking.result()
    assert lock.owner() == "this process"


@pytest.mark.parametrize("made", ["fifo", "folder", "link"])
def test_what_is_no_file_has_no_owner(made: str, tmp_path: Path) -> None:
    path = tmp_path / NAME
    {"fifo": lambda: os.mkfifo(path), "folder": path.mkdir, "link": lambda: path.symlink_to("elsewhere")}[made]()
    assert FolderLock(tmp_path).owner() is None


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"no number\n", b"1 2 3", b"9" * 400 + b" host", b"-1 host"])
def test_a_file_that_says_nothing_keeps_nobody_out(content: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(content)
    with FolderLock(tmp_path).at_work():
        assert (tmp_path / NAME).read_text() == f"{os.getpid()} {socket.gethostname()}\n"


@pytest.mark.parametrize("way", ["dangling", "elsewhere"])
def test_a_link_in_its_place_is_not_followed(way: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("somebody's")
    (tmp_path / NAME).symlink_to(tmp_path / way)
    with pytest.raises(OSError, match="symbolic"):
        FolderLock(tmp_path).take()
    assert (tmp_path / "elsewhere").read_text() == "somebody's"
