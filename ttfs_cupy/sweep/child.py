"""A run's process: how it is started, asked to end, and what it said when it failed."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.writing import import_path
from ttfs_cupy.common.shown import printable, shortened

# of prctl: which signal a process gets as its parent ends
_PR_SET_PDEATHSIG = 1

# bytes of what a process said on standard error, and characters of the sentence that is made of it
_LARGEST, _LONGEST = 1 << 20, 600

# As shells tell of SIGINT and SIGTERM
_INTERRUPTED = (130, 143)


class Child:
    """A process that trains, with these arguments of ttfs-train. It imports what this process does, wherever started.

    It has a session of its own: a terminal's Ctrl-C reaches this process alone, which passes it on. As this process
    ends, whatever the reason, the kernel has it end, too, as SIGTERM would. Raises UserError where it cannot start.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]):
        self._start = time.monotonic()
        # not a pipe, which could be full, or closed
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `finish`)
        path = os.pathsep.join(import_path())
        library, parent = ctypes.CDLL(None), os.getpid()

        def follow_parent() -> None:
            # until it has begun to answer it
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            # which may have ended before
            if os.getppid() != parent:
                os._exit(143)

        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ttfs_cupy.train", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={**os.environ, **environment, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
                start_new_session=True,
                preexec_fn=follow_parent,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._errors.close()
            raise UserError(f"a process for a run cannot be started: {error}") from None

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    @property
    def seconds(self) -> float:
        """Since its start."""
        return time.monotonic() - self._start

    def ask_to_end(self) -> None:
        """It saves first, and takes its time."""
        # SIGTERM, whatever the signal was: who starts in a shell's background ignores Ctrl-C
        self.process.terminate()

    def ask_to_save(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """With all that it has started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def finish(self) -> tuple[str, str]:
        """What went wrong, in a sentence, and all that it said on standard error; both empty where nothing did.

        Called once it has ended.
        """
        self._errors.seek(0)
        text = self._errors.read(_LARGEST).decode(errors="replace")
        self._errors.close()
        code = self.process.returncode
        if code == 0:
            return "", ""
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "").strip()
        if code in _INTERRUPTED:
            sentence = f"it was interrupted (exit code {code})"
        elif code < 0:
            sentence = (
                f"{signal.Signals(-code).name} ended it{', as where memory runs out' * (code == -signal.SIGKILL)}"
            )
        else:
            sentence = last.removeprefix("error: ") or f"it ended with exit code {code}"
        return shortened(printable(sentence), _LONGEST), text
