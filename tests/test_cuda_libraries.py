"""Two CUDA versions in one environment: CuPy for CUDA 12 beside the CUDA 13 that PyPI's torch brings along."""

import importlib.metadata
import importlib.util
from pathlib import Path

import pytest
from environments import python

from ttfs_cupy import cuda_libraries

pytest.importorskip("cupy")

REPORT = """
import cupy.cublas  # fails where libcublas.so.12 is not found
from ttfs_cupy.kernels import nvrtc, source
print(nvrtc.version()[0], nvrtc.compile_text(source.cuda_text("loss"), "loss.cu", 90)[0][:4] == b"\\x7fELF")
"""

ORDERS = {
    "CuPy alone": "from ttfs_cupy.device import import_cupy; import_cupy()",
    "torch first": "import torch; from ttfs_cupy.device import import_cupy; import_cupy()",
    "torch afterwards": "from ttfs_cupy.device import import_cupy; import_cupy(); import torch",
}


@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS)
def test_cupy_gets_the_libraries_it_was_built_for(imports: str) -> None:
    if "torch" in imports and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    done = python(imports + REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["12", "True"]


def test_preloading_names_what_it_loaded_and_these_are_in_the_process() -> None:
    done = python(
        "from ttfs_cupy import cuda_libraries as c\n"
        "paths = c.preload()\n"
        "assert {path.resolve() for path in paths.values()} <= {path.resolve() for path in c.loaded()}\n"
        "print(*sorted(path.name for path in paths.values()))"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libcublas.so.12", "libcublasLt.so.12", "libcudart.so.12", "libnvrtc.so.12"]


@pytest.mark.parametrize("name", ["cupy-cuda13x", "cupy", None])
def test_nothing_is_preloaded_for_another_cupy(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(distribution: str) -> str:
        if distribution == name:
            return "14.2.0"
        raise importlib.metadata.PackageNotFoundError(distribution)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert cuda_libraries.cupy_distribution() == (None if name is None else (name, "14.2.0"))
    assert cuda_libraries.preload() == {}


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
