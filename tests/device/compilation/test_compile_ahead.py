"""Machine code is compiled by several processes and kept on disk: whole or not at all, and once."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.environments import python
from helpers.machine_code import skip_without_nvrtc

from ttfs_cupy.check.kernels.variants import variants
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import cache
from ttfs_cupy.device import CudaDevice
from ttfs_cupy.device.compilation import compile_pool, cubins, nvrtc, source
from ttfs_cupy.device.compilation.source import Unit
from ttfs_cupy.device.gpu_limits import of_capability

# Compiled within a moment
JOBS = [(Unit("arrays"), "80"), (Unit("optimizer"), "80"), (Unit("optimizer"), "90")]


@pytest.fixture(autouse=True)
def nvrtc_is_installed() -> None:
    skip_without_nvrtc()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TTFS_CUPY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / cubins.FOLDER


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[compile_pool.Request]:
    """What is compiled from now on."""
    made: list[compile_pool.Request] = []
    real = cubins.compile_jobs

    def counted(requests: list[compile_pool.Request], *, progress: bool) -> None:
        made.extend(requests)
        real(requests, progress=progress)

    monkeypatch.setattr(cubins, "compile_jobs", counted)
    return made


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.exists() else []


def wholes(folder: Path) -> int:
    """The entries, all of which must be whole; half a file is none, under whatever name."""
    reports = [path for path in files(folder) if path.suffix == ".json" and not path.name.startswith(".")]
    for report in reports:
        code, said = report.with_suffix(".cubin").read_bytes(), json.loads(report.read_text())
        assert code.startswith(b"\x7fELF") and said["digest"] == cubins._digest(code, said["log"])
    return len(reports)


def test_a_second_start_compiles_nothing(folder: Path, requests: list[compile_pool.Request]) -> None:
    first = cubins.compiled(JOBS)
    assert len(requests) == len(JOBS) == wholes(folder) and len(files(folder)) == 2 * len(JOBS)
    assert cubins.compiled(JOBS) == first
    assert len(requests) == len(JOBS)
    for (unit, architecture), cubin in first.items():
        code, log = nvrtc.compile_text(unit.text, f"{unit.file}.cu", architecture)
        assert cubin.code == code
        assert cubin.usage == nvrtc.read_log(log, int(architecture)) and cubin.path.parent == folder


def test_anything_else_is_another_entry(
    folder: Path, requests: list[compile_pool.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JOBS[0]
    cubins.compiled([job])
    with monkeypatch.context() as patch:
        patch.setattr(source, "cuda_text", lambda file, constants: 'extern "C" __global__ void other(int n) {}\n')
        assert [usage.kernel for usage in cubins.compiled([job])[job].usage] == ["other"]
    monkeypatch.setattr(nvrtc, "version", lambda: (99, 0))
    cubins.compiled([job])
    assert len(requests) == 3 == wholes(folder)


@pytest.mark.parametrize("part", ["cubin", "json"])
@pytest.mark.parametrize("damage", ["gone", "empty", "truncated", "altered", "another's", "nonsense"])
def test_a_damaged_entry_is_compiled_again(
    part: str, damage: str, folder: Path, requests: list[compile_pool.Request]
) -> None:
    job, other = JOBS[:2]
    before = cubins.compiled([job, other])
    path, others = (before[one].path.with_suffix(f".{part}") for one in (job, other))
    code, whole, middle = before[job].code, path.read_bytes(), path.stat().st_size // 2
    if damage == "gone":
        path.unlink()
    else:
        damaged = {
            "empty": b"",
            "truncated": whole[:middle],
            "altered": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "another's": others.read_bytes(),
            "nonsense": b"[1]",
        }
        path.write_bytes(damaged[damage])
    requests.clear()
    after = cubins.compiled([job, other])[job]
    assert (after.code, after.usage) == (code, before[job].usage) and wholes(folder) == 2
    assert [request["stem"] for request in requests] == [str(path.with_suffix(""))]


SCRIPT = """
from ttfs_cupy.device.compilation import cubins
from ttfs_cupy.device.compilation.source import flat_units
print("started", flush=True)
print(len(cubins.compile_ahead([], (8, 0))))
"""


def started(folder: Path, *command: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "TTFS_CUPY_CACHE": str(folder.parent)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *command], stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )


def test_two_processes_at_once(folder: Path) -> None:
    two = [started(folder, "-c", SCRIPT) for _ in range(2)]
    count = len(source.flat_units())
    for process in two:
        said, told = process.communicate(timeout=300)
        assert said == f"started\n{count}\n"
        assert re.fullmatch(r"(compiling \d+ kernels for GPUs.*\n)?", told)
    assert wholes(folder) == count and len(files(folder)) == 2 * count


@pytest.mark.parametrize("whom", ["the caller", "all"])
def test_a_kill_in_the_middle(whom: str, folder: Path, requests: list[compile_pool.Request]) -> None:
    process = started(folder, "-c", SCRIPT)
    deadline = time.monotonic() + 200
    while not any(path.suffix == ".json" for path in files(folder)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    (os.killpg if whom == "all" else os.kill)(process.pid, signal.SIGKILL)
    process.communicate(timeout=100)
    if whom == "the caller":
        # its workers notice, and end with what they have in hand
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(process.pid, 0)
                time.sleep(0.02)
    left = wholes(folder)
    count = len(source.flat_units())
    assert 0 < left < count
    assert len(cubins.compile_ahead([], (8, 0))) == count == wholes(folder)
    assert len(requests) == count - left


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    variables = {name: str(tmp_path / "file") for name in ("TTFS_CUPY_CACHE", "XDG_CACHE_HOME")}
    done, again = (python(SCRIPT, variables={**variables, "TMPDIR": str(tmp_path)}) for _ in range(2))
    count = len(source.flat_units())
    assert done.stdout == again.stdout == f"started\n{count}\n"
    trouble, progress = done.stderr.splitlines()
    assert "set TTFS_CUPY_CACHE" in trouble and f"compiling {count} kernels" in progress
    # they are kept in a folder of the user's, where the next start finds them
    assert again.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", f"ttfs_cupy-{os.getuid()}"]


def test_a_ready_made_cache_is_used_without_a_trial_of_writing(
    folder: Path, requests: list[compile_pool.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cubins.compiled(JOBS)
    for path in (folder, folder.parent):
        path.chmod(0o555)

    def tried(place: Path) -> None:
        raise AssertionError(f"{place} is tried, though all is found")

    monkeypatch.setattr(cache, "_trouble", tried)
    assert cubins.compiled(JOBS) == made and len(requests) == len(JOBS)


def test_a_name_that_is_taken(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(UserError, match="cubins cannot be made: File exists"):
        cubins.compiled(JOBS)


ONE = """
from ttfs_cupy.device.compilation import cubins
from ttfs_cupy.device.compilation.source import Unit
print("started", flush=True)
print(len(cubins.compiled([(Unit("optimizer"), "80")])))
"""


@pytest.mark.parametrize("way", ["a script", "stdin", "a command"])
def test_whatever_the_main_module(way: str, folder: Path, tmp_path: Path) -> None:
    """Without a guard: a process that imported the main module would run it again."""
    (tmp_path / "unguarded.py").write_text(ONE)
    arguments = {"a script": ["unguarded.py"], "stdin": ["-"], "a command": ["-m", "unguarded"]}[way]
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=tmp_path, input=ONE, capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.stderr) == ("started\n1\n", "")
    assert wholes(folder) == 1


def test_what_does_not_compile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = source.cuda_text
    broken = "__global__ void broken( {"
    monkeypatch.setattr(source, "cuda_text", lambda file, *rest: broken if file == "optimizer" else real(file, *rest))
    monkeypatch.setattr(compile_pool, "available_cores", lambda: 1)
    with pytest.raises(
        UserError, match=r"NVRTC cannot compile optimizer.cu for sm_80: optimizer.cu\(1\): error"
    ) as caught:
        cubins.compiled(JOBS)
    assert "\n" not in str(caught.value)
    # what was done before stays
    assert [path.name.partition("-")[0] for path in files(folder)] == ["arrays"] * 2


def test_a_compiler_that_crashes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crash = "import os, sys; sys.stdin.readline(); os.abort()"
    monkeypatch.setattr(compile_pool, "WORKER", (sys.executable, "-c", crash))
    with pytest.raises(UserError, match=r"compiled \w+.cu for sm_\d0 ended with -6, negative for a signal"):
        cubins.compiled(JOBS)
    assert files(folder) == []


def test_no_nvrtc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise UserError("NVRTC, CUDA's run-time compiler, cannot be loaded")

    monkeypatch.setattr(nvrtc, "_nvrtc", missing)
    with pytest.raises(UserError, match="cannot be loaded"):
        cubins.compile_ahead([], (8, 0))


def test_a_bar_is_for_terminals(
    folder: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    # as in a script, in which nobody listens to the log
    caplog.set_level("WARNING", logger="ttfs_cupy")
    for told in ("compiling 3 kernels for GPUs: once, for some seconds to minutes\n", ""):
        cubins.compiled(JOBS, progress=True)
        assert capfd.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("capability", "architecture"), [((7, 5), 75), ((8, 6), 86), ((8, 8), 87), ((9, 0), 90), ((9, 1), 90)]
)
def test_the_newest_that_a_gpu_runs(
    capability: tuple[int, int], architecture: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code is for a major, and this minor or newer ones."""
    monkeypatch.setattr(nvrtc, "supported", lambda: (75, 80, 86, 87, 89, 90, 100, 120))
    assert cubins._newest(capability) == architecture


@pytest.mark.parametrize("capability", [(7, 0), (8, 0), (13, 0)])
def test_a_gpu_that_nvrtc_does_not_know(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "supported", lambda: (75, 86, 120))
    with pytest.raises(UserError, match=rf"does not compile for GPUs of compute capability {capability[0]}\.0"):
        cubins._newest(capability)


def test_the_device_loads_what_was_compiled(folder: Path, requests: list[compile_pool.Request]) -> None:
    """Warpgroups' for sm_90a, all else for sm_90. Registers are known before anything is loaded."""
    loaded: list[dict[str, Any]] = []
    device = CudaDevice.__new__(CudaDevice)
    device.xp = SimpleNamespace(RawModule=lambda **given: loaded.append(given))
    device.gpu, device._cubins = of_capability((9, 0), 132), {}
    chosen = [variants()[f"tensorcore_forward {tile}"] for tile in ("by groups 64x128 4x3", "64x128 3x3")]
    flat = len(source.flat_units())
    device.compile_ahead(chosen)
    assert len(requests) == flat + 2
    for variant, architecture in zip(chosen, ("90a", "90"), strict=True):
        cubin = cubins.cubin(variant.unit, 90)
        assert cubin.architecture == architecture
        assert device.registers(variant) == cubin.registers(variant.kernel) == registers_of(cubin.code)[variant.kernel]
        assert not loaded
        device._module(variant.unit.file, variant.constants)
        assert loaded.pop() == {"path": str(cubin.path)}
    device._module("neuron", ())
    assert loaded.pop() == {"path": str(cubins.cubin(Unit("neuron"), 90).path)}
    assert len(requests) == flat + 2


def test_registers_are_those_that_the_driver_finds(folder: Path) -> None:
    for cubin in cubins.compile_ahead([variants()["first_layer_forward 3x3x3"].unit], (8, 0)).values():
        assert {usage.kernel: usage.registers for usage in cubin.usage} == registers_of(cubin.code)


def registers_of(code: bytes) -> dict[str, int]:
    """By kernel, from a cubin's own tables: the attribute EIATTR_REGCOUNT of the section .nv.info."""
    start, entry, count, names_at = (*struct.unpack_from("<Q", code, 40), *struct.unpack_from("<HHH", code, 58))
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, start + index * entry) for index in range(count)]

    def text(table: int, place: int) -> str:
        first = sections[table][4] + place
        return code[first : code.index(b"\0", first)].decode()

    by_name = {text(names_at, section[0]): section for section in sections}
    symbols, info = by_name[".symtab"], by_name[".nv.info"]
    found, place = {}, info[4]
    while place < info[4] + info[5]:
        form, attribute, size = struct.unpack_from("<BBH", code, place)
        if attribute == 0x2F:
            symbol, registers = struct.unpack_from("<II", code, place + 4)
            name = struct.unpack_from("<I", code, symbols[4] + 24 * symbol)[0]
            found[text(symbols[6], name)] = registers
        place += 4 + (size if form == 4 else 0)
    return found


def test_the_working_folder_is_not_searched_for_modules(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("signal", "tqdm", "ttfs_cupy"):
        (tmp_path / f"{name}.py").write_text("print('mine'); raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert len(cubins.compiled(JOBS)) == len(JOBS)


@pytest.mark.parametrize("answer", ["", "half a li", "no JSON\\n"])
def test_a_worker_that_answers_no_line_of_json(folder: Path, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"import sys; sys.stdin.readline(); print('{answer}', end='', flush=True); sys.exit('out of luck')"
    monkeypatch.setattr(compile_pool, "WORKER", (sys.executable, "-c", code))
    with pytest.raises(UserError, match=r"ended with -?\d+, negative for a signal"):
        cubins.compiled(JOBS)


def test_the_first_to_fail_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whichever process: the one of the first request would take minutes."""
    code = (
        "import json, sys, time; file = json.loads(sys.stdin.readline())['file']\n"
        "time.sleep(120 if file == 'slow' else 0); print(json.dumps(file + ' fails'), flush=True)"
    )
    monkeypatch.setattr(compile_pool, "WORKER", (sys.executable, "-c", code))
    monkeypatch.setattr(compile_pool, "available_cores", lambda: 2)
    requests = [{"file": file, "stem": str(tmp_path / file)} for file in ("slow", "quick", "next")]
    begin = time.monotonic()
    with pytest.raises(UserError, match="quick fails"):
        compile_pool.compile_jobs(requests, progress=False)
    assert time.monotonic() - begin < 60


def test_a_cubin_that_was_deleted_is_compiled_again(folder: Path) -> None:
    device, loaded = CudaDevice.__new__(CudaDevice), []
    device.xp = SimpleNamespace(RawModule=lambda path: loaded.append(Path(path).read_bytes()))
    device.gpu, device._cubins = of_capability((8, 0), 108), {}
    device._module("arrays", ())
    for entry in files(folder):
        entry.unlink()
    device._module("arrays", ())
    assert loaded[0] == loaded[1]
