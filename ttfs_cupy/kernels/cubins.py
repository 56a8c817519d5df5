"""Machine code for kernels that CuPy cannot compile: it asks NVRTC for sm_90, and warpgroups need sm_90a."""

import hashlib
from pathlib import Path

from ttfs_cupy.files import write_atomically
from ttfs_cupy.kernels import nvrtc, source
from ttfs_cupy.kernels.cpu_library import cache_folder
from ttfs_cupy.kernels.source import Constants

ARCHITECTURE = "90a"


def cubin_file(file: str, constants: Constants) -> Path:
    """That of one file of cooperative kernels with these constants, from the user's cache or compiled now.

    Raises UserError where NVRTC cannot be loaded or refuses, and where the cache cannot be written.
    """
    text = source.cuda_text(file, constants)
    key = "\0".join([text, ARCHITECTURE, *nvrtc.OPTIONS, *map(str, nvrtc.version())])
    entry = cache_folder() / f"{file}-{ARCHITECTURE}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.cubin"
    if not entry.exists():
        code, _ = nvrtc.compile_text(text, f"{file}.cu", ARCHITECTURE)
        write_atomically(entry, code)
    return entry
