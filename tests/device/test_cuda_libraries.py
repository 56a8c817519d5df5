"""CuPy for either version of CUDA, also CUDA 12's beside the CUDA 13 that PyPI's torch brings along."""

import configparser
import ctypes
import importlib.metadata
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from helpers.environments import REPOSITORY, python

from ttfs_cupy import device
from ttfs_cupy.check import command as check
from ttfs_cupy.check.machine import gpus
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device.libraries import cuda_libraries

pytest.importorskip("cupy")

REPORT = """
import cupy.cublas  # fails where libcublas.so.12 is not found
from ttfs_cupy.device.compilation import nvrtc, source
print(nvrtc.version()[0], nvrtc.compile_text(source.cuda_text("optimizer"), "optimizer.cu", 90)[0][:4] == b"\\x7fELF")
"""

ORDERS = {
    "CuPy alone": "from ttfs_cupy.device import import_cupy; import_cupy()",
    "torch first": "import torch; from ttfs_cupy.device import import_cupy; import_cupy()",
    "torch afterwards": "from ttfs_cupy.device import import_cupy; import_cupy(); import torch",
}


def install(monkeypatch: pytest.MonkeyPatch, *cupys: str) -> None:
    """As if these CuPys were installed, and no others."""

    def version(distribution: str) -> str:
        if distribution in cupys:
            return "14.2.0"
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS)
def test_cupy_gets_the_libraries_it_was_built_for(imports: str) -> None:
    if "torch" in imports and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    done = python(imports + REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(cuda_libraries.wanted_major()), "True"]


@pytest.mark.skipif(cuda_libraries.wanted_major() != 12, reason="CuPy is not the one for CUDA 12")
def test_preloading_names_what_it_loaded_and_these_are_in_the_process() -> None:
    done = python(
        "from ttfs_cupy.device.libraries import cuda_libraries as c\n"
        "paths = c.preload()\n"
        "assert {path.resolve() for path in paths.values()} <= {path.resolve() for path in c.loaded()}\n"
        "print(*sorted(path.name for path in paths.values()))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libcublas.so.12", "libcublasLt.so.12", "libcudart.so.12", "libnvrtc.so.12"]


@pytest.mark.parametrize("name", ["cupy-cuda13x", "cupy", None])
def test_nothing_is_preloaded_for_another_cupy(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, *[name] if name else [])
    assert cuda_libraries.cupy_distributions() == ([(name, "14.2.0")] if name else [])
    assert cuda_libraries.preload() == {}


@pytest.mark.parametrize(
    ("cupy", "command", "driver"),
    [
        (
            "cupy-cuda12x",
            "pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12",
            "CUDA 12 (525 or later)",
        ),
        ("cupy", "pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12 nvidia-cublas-cu12", "CUDA 12 (525 or later)"),
        (
            "cupy-cuda13x",
            "pip install cupy-cuda13x 'nvidia-cuda-nvrtc==13.*' 'nvidia-cublas==13.*'",
            "CUDA 13 (580 or later)",
        ),
    ],
)
def test_what_to_install_is_for_the_cuda_that_is_there(
    cupy: str, command: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, cupy)
    assert cuda_libraries.how_to_install("cupy", "nvrtc", "cublas") == command
    assert cuda_libraries.driver_needed().endswith(driver)


@pytest.mark.parametrize("cupy", ["cupy-cuda12x", "cupy-cuda13x"])
def test_the_wheels_that_hints_name_are_those_of_the_extra(cupy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, cupy)
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    extra = setup["options.extras_require"][cupy.removeprefix("cupy-").removesuffix("x")]
    named = shlex.split(cuda_libraries.how_to_install("cupy", "nvrtc", "runtime", "cublas"))[2:]
    assert named == [re.sub(r" |>=.*", "", line) for line in extra.splitlines() if line]


def test_several_cupys_are_told_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in ([], ["cupy-cuda12x"], ["cupy-cuda13x"]):
        install(monkeypatch, *names)
        assert cuda_libraries.cupy_trouble() is None
    install(monkeypatch, "cupy-cuda12x", "cupy-cuda13x")
    told = cuda_libraries.cupy_trouble()
    assert told is not None
    assert "pip uninstall cupy-cuda12x cupy-cuda13x, then pip install one of them" in told


def test_a_gpu_without_cupy_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cupy" else find_spec(name))
    # the driver is there
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    sentence = (
        "CuPy is not installed: "
        "pip install cupy-cuda12x nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"
    )
    assert device.cuda_trouble() == sentence
    with pytest.raises(UserError, match=f"device 'cuda' cannot be used: {sentence}; device 'cpu' works everywhere"):
        device.get_device("cuda")
    report = check.Report()
    gpus(report)
    assert report.problems == [sentence]


def test_a_damaged_library_is_left_to_cupys_own_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "libcudart.so.12"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(cuda_libraries, "_find", lambda folder, file: broken)
    assert cuda_libraries.preload() == {}


def test_others_in_the_process_are_served_as_ever() -> None:
    done = python(
        "from cuda import pathfinder\n"
        "before = pathfinder.load_nvidia_dynamic_lib\n"
        "from ttfs_cupy.device import import_cupy\n"
        "import_cupy()\n"
        "assert pathfinder.load_nvidia_dynamic_lib is before"
    )
    assert done.returncode == 0, done.stderr
