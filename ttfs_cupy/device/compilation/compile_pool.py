"""Has kernels compiled by several processes at once: a compiler that crashes takes none of ours with it."""

import json
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, NoReturn

from tqdm import tqdm

from ttfs_cupy.common.command import loudness
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import import_path, make_folder
from ttfs_cupy.common.machine.cores import available_cores
from ttfs_cupy.common.machine.threads import ThreadPool
from ttfs_cupy.device.compilation.progress import announce

# Its arguments are this process's sys.path: modules are found where they are found here, and not in the working folder.
# Whatever they print as they are imported is no answer.
_CODE = """
import os, sys
sys.path[:] = sys.argv[1:]
answers = os.dup(1)
os.dup2(2, 1)
from ttfs_cupy.device.compilation import compile_worker
compile_worker.main(answers)
"""
WORKER = (sys.executable, "-c", _CODE)
MOST_WORKERS = 32

# Before a progress bar appears.
SECONDS_WITHOUT_BAR = 1.0

# The arguments of cubins.write_entry
Request = dict[str, str]


def compile_jobs(requests: Sequence[Request], *, progress: bool) -> None:
    """Writes each request's entry of the cache. Raises UserError for the first that fails; those done stay.

    progress: with a bar on a terminal, and a line in the log elsewhere.
    """
    if progress and not (sys.stderr is not None and sys.stderr.isatty()):
        announce(f"compiling {len(requests)} kernels for GPUs: once, for some seconds to minutes")
    for folder in {Path(request["stem"]).parent for request in requests}:
        make_folder(folder)
    waiting = deque(requests)
    bar: tqdm[NoReturn] = tqdm(
        total=len(requests),
        desc="compiling kernels",
        unit="kernel",
        leave=False,
        delay=SECONDS_WITHOUT_BAR,
        disable=loudness.hides_bars() if progress else True,
    )
    with (
        bar,
        _workers(min(available_cores(), len(requests), MOST_WORKERS)) as workers,
        ThreadPool(len(workers), "ttfs-compile") as pool,
    ):
        try:
            outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
            for worker in workers:
                pool.submit(_serve, worker, waiting, bar, outcomes)
            for _ in workers:
                if (error := outcomes.get()) is not None:
                    raise error
        finally:
            # done, or interrupted, or one has failed: entries are written whole or not at all
            waiting.clear()
            for worker in workers:
                worker.process.kill()


@dataclass(frozen=True)
class _Worker:
    """A process that waits for requests, and what it says on stderr."""

    process: "subprocess.Popen[str]"
    errors: IO[bytes]

    def ask(self, request: Request) -> str:
        """What went wrong, in a sentence; empty if nothing did. Raises UserError where no answer comes."""
        process = self.process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            return str(json.loads(process.stdout.readline()))
        except (OSError, ValueError):
            process.kill()
            code = process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "NVRTC crashed, or memory ran out")
            raise UserError(
                f"the process that compiled {request['file']} for sm_{request['architecture']} ended with {code}, "
                f"negative for a signal: {last}"
            ) from None


@contextmanager
def _workers(count: int) -> Iterator[list[_Worker]]:
    """Processes that wait for requests, until the end of the block."""
    workers: list[_Worker] = []
    try:
        workers += (_start() for _ in range(count))
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.communicate()
            worker.errors.close()


def _start() -> _Worker:
    errors, pipe = tempfile.TemporaryFile(), subprocess.PIPE  # noqa: SIM115 (closed with the process)
    process = subprocess.Popen([*WORKER, *import_path()], stdin=pipe, stdout=pipe, stderr=errors, text=True)
    return _Worker(process, errors)


def _serve(
    worker: _Worker,
    waiting: "deque[Request]",
    bar: "tqdm[NoReturn]",
    outcomes: "SimpleQueue[BaseException | None]",
) -> None:
    """Hands a process one request after the other until none waits or one fails, and then says so."""
    try:
        while waiting:
            try:
                request = waiting.popleft()
            except IndexError:
                break
            if problem := worker.ask(request):
                raise UserError(problem)
            bar.update()
    except BaseException as error:
        outcomes.put(error)
    else:
        outcomes.put(None)
