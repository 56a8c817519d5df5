"""Runs stages in processes of their own, within one budget of seconds, and keeps on disk whatever they have found."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ttfs_cupy.check.deep import summary
from ttfs_cupy.check.deep.ended import Ended, How
from ttfs_cupy.check.deep.notes import take
from ttfs_cupy.check.deep.output import Copy, Text
from ttfs_cupy.check.deep.stages import Stage
from ttfs_cupy.common.command import interruption
from ttfs_cupy.common.command.command_line import say
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import import_path, write_atomically
from ttfs_cupy.common.version import __version__

REPORT, FIGURES, SUMMARY = "report.txt", "figures.json", "summary.txt"

# Of what a stage printed last that did not end well
KEPT_LINES = 20

# Seconds of the budget for what comes after the last stage, and between a stage's stack and its end.
RESERVE, GRACE = 3.0, 1.0

# Bytes of all stages' records. With their text, and what NVIDIA's tools say, that is a megabyte at most.
MOST_FIGURES = 480_000

# As faulthandler prints where a process was, the innermost call first
_PLACE = re.compile(r'^  File "([^"]+)", line (\d+) in (\S+)')


def run(stages: Sequence[Stage], folder: Path, seconds: float, device: str) -> int:
    """The stages in their order; the report's files are in the folder at any time. Returns the exit code.

    Raises UserError where the folder cannot be written, or holds a report already; and, once all is written,
    ToldInterrupt if it was interrupted.
    """
    _prepare(folder)
    start = time.monotonic()
    ended: list[Ended] = []
    with Text(folder / REPORT) as text, _hangup_is_an_interrupt():
        try:
            for stage in stages:
                left = seconds - RESERVE - (time.monotonic() - start)
                if left < stage.least:
                    ended.append(Ended(stage.name, "skipped", f"{max(0, left):.0f} s are left"))
                else:
                    say(f"{stage.name} ...")
                    text.write(f"##### {stage.name}")
                    ended.append(_run_one(stage, folder, device, left, text))
                    ended[-1] = _with_records(ended[-1], folder, MOST_FIGURES - sum(one.size for one in ended))
                    say(*summary.of_stage(ended[-1]))
                _write_figures(folder, ended, time.monotonic() - start)
        except KeyboardInterrupt:
            interruption.arrived()
            for stage in stages[len(ended) :]:
                ended.append(_with_records(Ended(stage.name, "interrupted"), folder, MOST_FIGURES))
        _write_figures(folder, ended, time.monotonic() - start)
        lines = summary.lines(ended, time.monotonic() - start, seconds)
        text.write("\n".join(["##### summary", *lines]))
        write_atomically(folder / SUMMARY, ("\n".join(lines) + "\n").encode())
    say("", *lines)
    if any(one.how == "interrupted" for one in ended):
        raise interruption.ToldInterrupt
    return int(any(one.needs_attention for one in ended))


def _prepare(folder: Path) -> None:
    if (folder / REPORT).exists():
        raise UserError(f"--report {folder} holds a report already: name another folder, or delete that one")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--report {folder} is no folder that could be written: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"--report {folder} is no folder that could be written")


def _run_one(stage: Stage, folder: Path, device: str, left: float, text: Text) -> Ended:
    seconds, start = min(stage.most, left) - GRACE, time.monotonic()
    # a little less than the runner waits: a stage that looks at its clock ends by itself
    arguments = (stage.name, stage.module, str(folder), device, str(start + seconds - GRACE))
    # a session of its own: one signal reaches all that it starts, and Ctrl-C reaches the runner alone
    process = subprocess.Popen(
        [sys.executable, "-m", __package__, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(),
        start_new_session=True,
    )
    stream: IO[str] | None = process.stdout
    assert stream is not None
    copy = text.copy(stream)
    try:
        how, detail = _wait(process, seconds)
    finally:
        _kill_group(process)
        copy.finish()
    if how in ("killed", "out of time"):
        detail = f"{detail}{_place(copy)}"
    last = [] if how == "done" else _without_stack(copy.last)[-KEPT_LINES:]
    return Ended(stage.name, how, detail, time.monotonic() - start, last)


def _with_records(ended: Ended, folder: Path, room: int) -> Ended:
    figures, findings, size = take(folder, ended.name, room)
    return dataclasses.replace(ended, figures=figures, findings=findings, size=size)


def _environment() -> dict[str, str]:
    """A stage imports what the runner did, as installed or from a checkout, whatever folder both are started in."""
    path = os.pathsep.join(import_path())
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}


def _wait(process: subprocess.Popen[str], seconds: float) -> tuple[How, str]:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        # it prints where it is
        process.send_signal(signal.SIGUSR1)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        return "out of time", f"killed after {seconds:.0f} s"
    if code == 0:
        return "done", ""
    return ("killed", f"by {signal.Signals(-code).name}") if code < 0 else ("failed", f"exit code {code}")


def _kill_group(process: subprocess.Popen[str]) -> None:
    """The stage, and whatever it has started and left behind."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # one that hangs in a driver cannot be waited for
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _place(copy: Copy) -> str:
    """Where it was, as the stack says that faulthandler printed."""
    found = next((match for line in copy.last if (match := _PLACE.match(line))), None)
    return f", in {found[3]}, {Path(found[1]).name} line {found[2]}" if found else ""


def _without_stack(lines: list[str]) -> list[str]:
    stack = re.compile(r"  File |Current thread |Stack \(most recent|Extension modules|Fatal Python error")
    return [line for line in lines if line.strip() and not stack.match(line)]


def _write_figures(folder: Path, ended: Sequence[Ended], seconds: float) -> None:
    found = {
        "ttfs_cupy": __version__,
        "seconds": round(seconds, 1),
        "stages": [dataclasses.asdict(one) for one in ended],
    }
    write_atomically(folder / FIGURES, (json.dumps(found, separators=(",", ":")) + "\n").encode())


@contextmanager
def _hangup_is_an_interrupt() -> Iterator[None]:
    """What ends the runner must not leave a stage running: commands answer the other signals."""

    before = signal.getsignal(signal.SIGHUP)
    # nohup has it ignored: that stays so. None: installed by no Python code
    if before in (signal.SIG_IGN, None) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGHUP, interruption.as_by_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
