"""Has kernels compiled by several processes at once: a compiler that crashes takes none of ours with it."""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from ttfs_cupy.device.cpu import available_cores
from ttfs_cupy.errors import UserError
from ttfs_cupy.files import make_folder

WORKER = (sys.executable, "-m", "ttfs_cupy.kernels.compile_worker")

# Before a progress bar appears.
SECONDS_WITHOUT_BAR = 1.0

# The arguments of cubins.write_entry
Request = dict[str, str]


def compile_jobs(requests: Sequence[Request], *, progress: bool) -> None:
    """Writes each request's entry of the cache. Raises UserError for the first that fails; those done stay.

    progress: with a bar on a terminal.
    """
    for folder in {Path(request["stem"]).parent for request in requests}:
        make_folder(folder)
    waiting = deque(requests)
    bar: tqdm[NoReturn] = tqdm(
        total=len(requests),
        desc="compiling kernels",
        unit="kernel",
        leave=False,
        delay=SECONDS_WITHOUT_BAR,
        disable=None if progress else True,
    )
    with bar, _workers(min(available_cores(), len(requests))) as workers, ThreadPoolExecutor(len(workers)) as pool:
        try:
            for served in as_completed([pool.submit(_serve, worker, waiting, bar) for worker in workers]):
                served.result()
        finally:
            # done, or interrupted, or one has failed: entries are written whole or not at all
            waiting.clear()
            for worker in workers:
                worker.kill()


@contextmanager
def _workers(count: int) -> "Iterator[list[subprocess.Popen[str]]]":
    """Processes that wait for requests, until the end of the block."""
    workers: list[subprocess.Popen[str]] = []
    try:
        workers += (_start() for _ in range(count))
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _start() -> "subprocess.Popen[str]":
    # modules are found where this process finds them
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(WORKER, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment)


def _serve(worker: "subprocess.Popen[str]", waiting: "deque[Request]", bar: "tqdm[NoReturn]") -> None:
    """Hands a process one request after the other until none waits."""
    assert worker.stdin is not None and worker.stdout is not None
    while waiting:
        try:
            request = waiting.popleft()
        except IndexError:
            return
        try:
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except OSError:
            answer = ""
        if not answer:
            raise UserError(
                f"the process that compiled {request['file']} for sm_{request['architecture']} ended with "
                f"{worker.wait()}, negative for a signal: NVRTC crashed, or memory ran out"
            )
        problem = json.loads(answer)
        if problem:
            raise UserError(problem)
        bar.update()
