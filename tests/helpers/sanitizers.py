"""The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, for a Python that was built without."""

import shutil
import subprocess
import sys
from pathlib import Path

from helpers.environments import REPOSITORY

FLAGS = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Where the kernels built with them are kept for the next who wants them: it takes a minute.
CACHE = REPOSITORY / "build" / "sanitized"


def trouble() -> str | None:
    """Why there are none here, or None."""
    if not shutil.which("g++") or sys.platform != "linux":
        return "GCC's sanitizers need g++"
    return None if _library("libasan.so") else "g++ came without libasan"


def preloaded() -> dict[str, str]:
    """Environment variables of a process that loads a library built with them. Raises ValueError if there is none."""
    if reason := trouble():
        raise ValueError(reason)
    return {
        "CXX": str(shutil.which("g++")),
        # Python itself was not built with it, so it has to come first; then what PyTorch throws exceptions with, which
        # it looks for at once
        "LD_PRELOAD": f"{_library('libasan.so')} {_library('libstdc++.so.6')}",
        # Python's own leaks at exit are no concern here; freed memory need not be kept for long to find a step beyond
        # an array; and too large an array is a MemoryError, as it is without
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=8:allocator_may_return_null=1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _library(name: str) -> Path | None:
    command = [str(shutil.which("g++")), f"-print-file-name={name}"]
    found = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return found if found.is_absolute() else None
