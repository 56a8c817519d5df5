"""Machine code of the kernels: compiled by processes of their own, on all cores, and kept in the user's cache folder.

An entry is a cubin, and beside it a small file that says what the compiler and the assembler reported, and the digest
of both. That file comes last, and both come whole: an entry that a kill cut short, or that was altered, is none, and is
compiled again. Processes that compile the same at once write the same.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.cache import cache_folder, places
from ttfs_cupy.common.files.writing import write_atomically
from ttfs_cupy.device.compilation import nvrtc, source
from ttfs_cupy.device.compilation.compile_pool import compile_jobs
from ttfs_cupy.device.compilation.nvrtc import Usage
from ttfs_cupy.device.compilation.source import Unit, Variant

# Below the cache folder. Nothing bounds its size: it may be deleted at any time.
FOLDER = "cubins"


@dataclass(frozen=True)
class Cubin:
    """A unit compiled for an architecture (what follows sm_: 80, 90a): where its machine code lies, what the compiler
    and the assembler said, and what its kernels take."""

    unit: Unit
    architecture: str
    path: Path
    log: str
    usage: tuple[Usage, ...]

    @property
    def code(self) -> bytes:
        return self.path.read_bytes()

    def registers(self, kernel: str) -> int:
        return next(usage.registers for usage in self.usage if usage.kernel == kernel)


# A unit, and what to compile it for
Job = tuple[Unit, str]


def compile_ahead(units: Iterable[Unit], capability: tuple[int, int], *, progress: bool = True) -> dict[Unit, Cubin]:
    """Machine code of all flat kernels and of these units, for a GPU of that compute capability.

    What is not in the cache is compiled now, with a progress bar if that takes a while. Raises UserError where NVRTC
    cannot be loaded or refuses.
    """
    units = dict.fromkeys([*source.flat_units(), *units])
    architecture = _newest(capability)
    found = compiled([(unit, _target(unit, architecture)) for unit in units], progress=progress)
    return {unit: cubin for (unit, _), cubin in found.items()}


def compile_all(
    architectures: Iterable[int] = nvrtc.ARCHITECTURES,
    variants: Mapping[str, Variant] | None = None,
    *,
    progress: bool = False,
) -> list[Cubin]:
    """Every flat kernel and each of these variants for each of these architectures, whatever GPU there is.

    variants: by what their usage is to be called. Where they are never launched, as on 7.5, they compile, too.
    """
    each = [(unit, architecture) for unit in source.flat_units() for architecture in architectures]
    named = [(item, architecture) for item in (variants or {}).items() for architecture in architectures]
    jobs = [(unit, _target(unit, architecture)) for unit, architecture in each]
    of_variants = [(variant.unit, _target(variant.unit, architecture)) for (_, variant), architecture in named]
    found = compiled([*jobs, *of_variants], progress=progress)
    cubins = [found[job] for job in jobs]
    for ((name, variant), _), job in zip(named, of_variants, strict=True):
        own = (replace(usage, kernel=name) for usage in found[job].usage if usage.kernel == variant.kernel)
        cubins.append(replace(found[job], usage=tuple(own)))
    return cubins


def cubin(unit: Unit, architecture: int) -> Cubin:
    """Of one unit, for that architecture (90 is sm_90)."""
    job = unit, _target(unit, architecture)
    return compiled([job])[job]


def compiled(jobs: Iterable[Job], *, progress: bool = False) -> dict[Job, Cubin]:
    """Each job's machine code, from the cache or compiled now."""
    wanted = list(dict.fromkeys(jobs))
    found: dict[Job, Cubin] = {}
    for place in places():
        found |= _found(place, [job for job in wanted if job not in found])
        if len(found) == len(wanted):
            return found
    folder = cache_folder() / FOLDER
    missing = [job for job in wanted if job not in found]
    compile_jobs([_request(job, _stem(folder, *job)) for job in missing], progress=progress)
    found |= _found(folder.parent, missing)
    if len(found) < len(wanted):
        raise UserError(f"what was compiled into {folder} is not there any more: who deletes it?")
    return found


def _found(place: Path, jobs: Iterable[Job]) -> dict[Job, Cubin]:
    """Those whose entries are whole in that place."""
    found = {job: _read(job, _stem(place / FOLDER, *job)) for job in jobs}
    return {job: cubin for job, cubin in found.items() if cubin is not None}


def write_entry(text: str, file: str, architecture: str, stem: Path) -> None:
    """Compiles a text into an entry of the cache. Raises UserError where it does not compile or cannot be written."""
    code, log = nvrtc.compile_text(text, file, architecture)
    write_atomically(_code(stem), code)
    write_atomically(_report(stem), json.dumps({"digest": _digest(code, log), "log": log}).encode())


def _target(unit: Unit, architecture: int) -> str:
    """Warpgroups are of sm_90a alone."""
    own = "a" if architecture == 90 and source.needs_warpgroups(unit.constants) else ""
    return f"{architecture}{own}"


def _newest(capability: tuple[int, int]) -> int:
    """What NVRTC compiles for, that a GPU of that capability runs: code for its own major, and no newer minor."""
    major, minor = capability
    runs = [known for known in nvrtc.supported() if known // 10 == major and known % 10 <= minor]
    if not runs:
        version = ".".join(map(str, nvrtc.version()))
        raise UserError(
            f"NVRTC {version} does not compile for GPUs of compute capability {major}.{minor}: install a CuPy for a "
            "CUDA version that does"
        )
    return max(runs)


def _stem(folder: Path, unit: Unit, architecture: str) -> Path:
    key = "\0".join([unit.text, architecture, *nvrtc.OPTIONS, *map(str, nvrtc.version())])
    stem = folder / f"{unit.file}-{architecture}-{hashlib.sha256(key.encode()).hexdigest()[:20]}"
    # in a folder for all there may be somebody else's, which can be neither read nor replaced
    locked = _report(stem).exists() and not os.access(_report(stem), os.R_OK)
    return stem.with_name(f"{stem.name}-{os.getuid()}") if locked else stem


def _request(job: Job, stem: Path) -> dict[str, str]:
    """As write_entry takes it."""
    unit, architecture = job
    return {"text": unit.text, "file": f"{unit.file}.cu", "architecture": architecture, "stem": str(stem)}


def _read(job: Job, stem: Path) -> Cubin | None:
    """The entry, or None where there is none that is whole."""
    try:
        report = json.loads(_report(stem).read_bytes())
        if report["digest"] == _digest(_code(stem).read_bytes(), report["log"]):
            usage = nvrtc.read_log(report["log"], int(job[1].rstrip("a")))
            return Cubin(*job, _code(stem), report["log"], usage)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return None


def _code(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.cubin")


def _report(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.json")


def _digest(code: bytes, log: str) -> str:
    return hashlib.sha256(code + log.encode()).hexdigest()
