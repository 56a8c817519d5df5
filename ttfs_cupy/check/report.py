"""What check says as it goes, what it found wrong, and what to do about it."""

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from ttfs_cupy.common.command.command_line import OutputError, say
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.libraries import cuda_libraries

T = TypeVar("T")

FAILED = 1

PLEASE_REPORT = "please report it, with all of this output; --device cpu may work meanwhile"


class Report:
    """Prints what it finds as it goes; remembers what is wrong, and what this machine cannot tell."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.problems: list[str] = []
        self.untested: list[str] = []

    def say(self, title: str, text: str) -> None:
        first, *rest = text.splitlines()
        self.note(f"{title:12}{first}", *(f"{'':12}{line}" for line in rest))
        say(*self.lines[-1 - len(rest) :])

    def note(self, *lines: str) -> None:
        """For the report file; not printed."""
        self.lines += lines

    def problem(self, sentence: str) -> None:
        """One sentence that says what is wrong and what to do; several parts may come upon the same."""
        if sentence not in self.problems:
            self.problems.append(sentence)
            self.say("  WRONG", sentence)

    def attempt(self, part: Callable[[], T]) -> T | None:
        """Runs a part. What it raises is a problem with a remedy, never a traceback.

        Raises OutputError: nobody would hear of it.
        """
        try:
            return part()
        except OutputError:
            raise
        except UserError as error:
            # its sentence says what to do
            self.problem(" ".join(str(error).split()))
        except Exception as error:  # what a broken installation raises is beyond listing
            self.problem(diagnosis(error))
        return None

    def last_line(self) -> int:
        untested = f"; {'; '.join(self.untested)}" if self.untested else ""
        if self.problems:
            self.note(f"something is wrong: {'; '.join(self.problems)}{untested}")
        else:
            self.note(f"all is well{untested}")
        say(self.lines[-1])
        return FAILED if self.problems else 0


def diagnosis(error: Exception | str) -> str:
    """What happened and what to do about it, in one sentence."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    # compilers' and loaders' messages go on for pages
    return f"{' '.join(text.split())[:300]}: {remedy(text)}"


def remedy(text: str) -> str:
    """What to do about an error of that text."""
    for pattern, action in _remedies():
        if re.search(pattern, text, re.IGNORECASE):
            return action
    return PLEASE_REPORT


def _remedies() -> Iterator[tuple[str, str]]:
    """What to do about an error whose text matches. The first that matches counts."""
    install = cuda_libraries.how_to_install
    yield r"no NVIDIA driver", "install NVIDIA's driver; a container has to be started with its GPUs (--gpus all)"
    yield r"InsufficientDriver", f"update NVIDIA's driver to {cuda_libraries.driver_needed()}"
    yield r"NoDevice|sees no GPU", "see whether nvidia-smi lists the GPU, and what CUDA_VISIBLE_DEVICES says"
    yield r"libcublas", install("cublas")
    yield r"libnvrtc", install("nvrtc")
    yield r"cuda_fp16|headers|include", install("runtime")
    yield r"No module named 'cupy", install("cupy")
    yield r"OutOfMemory|out of memory", "free the GPU's memory: nvidia-smi lists who holds it"
