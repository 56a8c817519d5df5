"""What the commands share: one sentence and exit code 2 for a user's mistake, and where messages go."""

import argparse
import contextlib
import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ttfs_cupy.common.command import colours
from ttfs_cupy.common.command.interruption import Interruptions, ToldInterrupt
from ttfs_cupy.common.command.loudness import Loudness
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import path_trouble
from ttfs_cupy.common.machine import address_space
from ttfs_cupy.common.machine.threads import ThreadStartError, cannot_start
from ttfs_cupy.common.shown import message_of, shortened, shown
from ttfs_cupy.common.version import __version__

USER_ERROR = 2
# as a shell tells of a process that SIGPIPE ended
OUTPUT_CLOSED = 141

# characters of a sentence, which may name long paths
MOST = 600

logger = logging.getLogger("ttfs_cupy")


class Parser(argparse.ArgumentParser):
    """Tells a mistake on the command line as all others are told: one sentence. Each has --version."""

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        version = f"ttfs_cupy {__version__}"
        self.add_argument("--version", action="version", version=version, help="show the version and exit")

    def error(self, message: str) -> NoReturn:
        sentence = shortened(" ".join(message.split()), 400)
        said = colours.painted(f"error: {sentence}: see {self.prog} --help", colours.RED, sys.stderr)
        self.exit(USER_ERROR, f"{said}\n")

    def add_run(self) -> None:
        """Adds RUN_DIR."""
        self.add_argument("run", metavar="RUN_DIR", type=path, help="the directory that ttfs-train made")

    def add_runs(self) -> None:
        """Adds RUN_DIR..., one or more."""
        self.add_argument("runs", metavar="RUN_DIR", nargs="+", type=path, help="a directory that ttfs-train made")

    def add_device(self) -> None:
        """Adds --device, of a run's network."""
        self.add_argument("--device", help="auto, cuda, cuda:N or cpu (default: as in the run's config)")

    def add_epoch(self) -> None:
        """Adds --epoch."""
        about = "the weights after that epoch, of a checkpoint that training.keep kept"
        self.add_argument("--epoch", type=int, metavar="N", help=about)

    def add_force(self) -> None:
        """Adds --force."""
        self.add_argument("--force", action="store_true", help="write over files that are there")

    def add_overrides(self, about: str, metavar: str = "KEY.SUB=VALUE") -> None:
        """Adds --set, which may be repeated: keys of a config."""
        self.add_argument("--set", action="append", default=[], metavar=metavar, help=about)

    def add_no_tune(self) -> None:
        """Adds --no-tune."""
        self.add_argument(
            "--no-tune",
            action="store_true",
            help="choose convolutions by their shapes, not by timing them on the device",
        )

    def _print_message(self, message: str, file: Any = None) -> None:
        stream = file or sys.stderr
        # closed
        if stream is None:
            return
        try:
            stream.write(message)
            stream.flush()
        except OSError as error:
            refusal = _unwritable(stream, error)
            # of a mistake nobody can be told
            if stream is not sys.stdout:
                return
            # whoever asked for --help has read enough of it
            if isinstance(refusal, OutputClosedError):
                sys.exit(OUTPUT_CLOSED)
            _complain(f"error: {refusal}", colours.RED)
            sys.exit(USER_ERROR)


def path(text: str) -> Path:
    """An argument that names a file or a folder."""
    if not text:
        raise argparse.ArgumentTypeError("it must name a path, and is empty")
    if trouble := path_trouble(text, bytes_too=False):
        raise argparse.ArgumentTypeError(f"{shown(text)} {trouble}")
    return Path(text)


def file_name(text: str) -> str:
    """An argument that names a file or a folder, of whatever bytes, or standard input by -."""
    if not text:
        raise argparse.ArgumentTypeError("it must name a path, and is empty")
    return text


class OutputError(UserError):
    """What the command says cannot be written."""


class OutputClosedError(OutputError):
    """Nobody reads the command's output any more: `| head` has seen enough.

    The command then ends where it is, as SIGPIPE would end it; a run at the end of an epoch, which is on disk by then.
    """


def say(*lines: str) -> None:
    """Prints lines of a command's output. Raises OutputError."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError as error:
        raise _unwritable(sys.stdout, error) from None


def run(
    command: Callable[[], int | None],
    *,
    process_ends: bool = False,
    level: int = logging.INFO,
    has_output: bool = False,
) -> int:
    """Runs a command; returns the process's exit code: the command's own, if it returns one.

    process_ends: nothing is left to do after it. Ctrl-C and SIGTERM are ignored from then on. level: of logging, from
    which on the console is told (loudness.py). has_output: what it prints is for other programs, so that messages go to
    standard error.
    """
    interruptions = Interruptions()
    try:
        interruptions.install()
        code = _outcome(command, level, has_output=has_output)
        interruptions.arrived()
    except KeyboardInterrupt as interrupt:
        interruptions.arrived()
        if not isinstance(interrupt, ToldInterrupt):
            _complain("interrupted")
        # as shells have it
        code = 128 + interruptions.number
    finally:
        interruptions.remove(process_ends=process_ends)
    return code


def _outcome(command: Callable[[], int | None], level: int, *, has_output: bool) -> int:
    """The exit code of a command that is not interrupted."""
    _open_streams()
    logger.setLevel(min(level, logging.INFO))
    console = _Console(sys.stderr if has_output else sys.stdout)
    console.addFilter(Loudness(level))
    logger.addHandler(console)
    try:
        with warnings.catch_warnings():
            # the trainer finds numbers that stop being finite, and says more about them than NumPy's warnings
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="ttfs_cupy")
            code = command()
        # what was printed, and not yet written
        _flush()
    except (OutputClosedError, BrokenPipeError):
        _forget(sys.stdout)
        console.step_aside()
        return OUTPUT_CLOSED
    except Exception as error:
        said = refusal(error)
        if said is None:
            raise
        _complain(f"error: {said}", colours.RED)
        return USER_ERROR
    finally:
        with contextlib.suppress(OutputError):
            _flush()
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            if handler is not console:
                handler.close()
    return code or 0


def refusal(error: BaseException) -> str | None:
    """The sentence by which a command ends that raises this; None of a bug, whose traceback is shown."""
    if isinstance(error, UserError):
        return message_of(error, MOST)
    if cannot_start(error):
        return str(ThreadStartError())
    # of a library that cannot be mapped into memory
    is_unmapped = isinstance(error, ImportError) and address_space.is_behind(error)
    if isinstance(error, MemoryError) or is_unmapped or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return (
            f"the memory does not suffice ({message_of(error)}): end other programs, or raise the limit that is set "
            "(ulimit -v, or a container's)"
        )
    # of a disk that is full, say, while data are unpacked to a temporary folder
    return message_of(error) if isinstance(error, OSError) else None


def complain(sentence: str) -> None:
    """Says an error before the command ends by it, from any thread: on a row of its own, also while a bar is shown."""
    bars = sys.modules.get("tqdm")
    with contextlib.nullcontext() if bars is None else bars.tqdm.external_write_mode(file=sys.stderr):
        _complain(f"error: {shortened(sentence, MOST)}", colours.RED)


@contextlib.contextmanager
def readers_may_leave() -> Iterator[None]:
    """What is done in this block is done to its end, though nobody reads the log on the console any more. Raises
    OutputClosedError after it then."""
    consoles = [handler for handler in logger.handlers if isinstance(handler, _Console)]
    for console in consoles:
        console.is_patient = True
    try:
        yield
    finally:
        for console in consoles:
            console.is_patient = False
    for console in consoles:
        if console.refusal is not None:
            raise console.refusal


# of Any, which Python 3.10 can't be told at run time
class _Console(logging.StreamHandler):
    """Where logging would print a traceback and go on, an output that cannot be written ends the command.

    is_patient: it goes on where nobody reads it, with `refusal` to be raised later.

    On a terminal warnings have a colour, and of other messages what `extra={"bold": "best"}` names stands out.
    """

    def __init__(self, stream: Any):
        super().__init__(stream)
        self.is_patient = False
        self.refusal: OutputClosedError | None = None
        self._unsaid: logging.LogRecord | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """On a row of its own, also while a bar is shown, and by whichever thread."""
        bars = sys.modules.get("tqdm")
        with contextlib.nullcontext() if bars is None else bars.tqdm.external_write_mode(file=self.stream):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        if record.levelno >= logging.WARNING:
            return colours.painted(message, colours.YELLOW, self.stream)
        bold = getattr(record, "bold", "")
        return message.replace(bold, colours.painted(bold, colours.BOLD, self.stream), 1)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        refusal = _unwritable(self.stream, sys.exc_info()[1])
        if self.is_patient and isinstance(refusal, OutputClosedError):
            self.refusal = self.refusal or refusal
            return
        self._unsaid = record
        raise refusal from None

    def step_aside(self) -> None:
        """The log file, if there is one, gets what nobody reads here, and the reason why it ends."""
        logger.removeHandler(self)
        if self._unsaid is not None and logger.handlers:
            logger.handle(self._unsaid)
            logger.info("nobody reads the output any more, so this ends here, as a pipe's other commands do")


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        raise _unwritable(sys.stdout, error) from None


def _unwritable(stream: Any, error: BaseException | None) -> OutputError:
    """What to raise where a stream cannot be written. It gets nothing any more."""
    _forget(stream)
    if isinstance(error, BrokenPipeError):
        return OutputClosedError("nobody reads the output any more")
    return OutputError(f"the output cannot be written: {getattr(error, 'strerror', None) or error}")


def _open_streams() -> None:
    """Has something stand where standard input, output and error are closed, and whatever is said be sayable.

    Else the next file that is opened would take a closed one's number, and the output of a compiler, say, would go into
    a file of the run. An ASCII terminal gets \\xe9 for what it cannot show.
    """
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        while null < 3:
            # a compiler, too, must find it there
            os.set_inheritable(null, True)
            null = os.dup(null)
        os.close(null)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115 (until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _complain(sentence: str, colour: str = "") -> None:
    """To standard error, if there is anybody."""
    try:
        print(colours.painted(sentence, colour, sys.stderr) if colour else sentence, file=sys.stderr, flush=True)
    except OSError:
        _forget(sys.stderr)


def _forget(stream: Any) -> None:
    """Sends to nowhere what a stream still holds: Python would try to write it at its end, and complain."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
