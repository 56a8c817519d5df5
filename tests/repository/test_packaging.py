"""The wheel: what is in it, and that it trains away from the repository, on a machine without a compiler."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from base64 import urlsafe_b64decode
from email.message import Message
from email.parser import Parser
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import pytest
from helpers.environments import CODE, REPOSITORY, site_packages

import ttfs_cupy
from ttfs_cupy.common.command import entry
from ttfs_cupy.device.libraries import cuda_libraries

ROOT = REPOSITORY
SHIPPED = (".py", ".cu", ".cpp", ".c", ".h", ".txt", ".yaml", ".typed", ".html", ".css", ".js")
# Building the kernels with zig takes some ten seconds of one core; the rest is for a machine that does much else.
PATIENCE = 300


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: what an earlier build left in the tree would get into the wheel."""
    tree, target = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, tree)
    for folder in CODE:
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(tree))
    (file,) = target.glob("ttfs_cupy-*.whl")
    return file


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target


def pip(*arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("folder", CODE)
def test_every_module_kernel_and_yaml_file_is_in_the_wheel(names: set[str], folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in SHIPPED or path.name == "py.typed"]
    expected = {f"{CODE[folder]}/{path.relative_to(ROOT / folder).as_posix()}" for path in files}
    assert expected
    assert expected <= names


@pytest.mark.parametrize(
    "file",
    [
        "ttfs_cupy/py.typed",
        "ttfs_cupy/kernels/neuron.cu",
        "ttfs_cupy/kernels/cpu.h",
        "ttfs_cupy/kernels/cuda.h",
        "ttfs_cupy/export/c/templates/Makefile",
        "ttfs_cupy/models/vgg11.yaml",
        "ttfs_cupy/models/builder.py",
        "ttfs_cupy/configs/quickstart.yaml",
        "ttfs_cupy/data/batches.py",
    ],
)
def test_the_wheel_holds(names: set[str], file: str) -> None:
    assert file in names


def test_the_wheel_claims_one_top_level_name(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ttfs_cupy"}


def test_the_wheel_holds_no_tests_and_no_leftovers(names: set[str]) -> None:
    assert not [name for name in names if "test" in name.lower() or "__pycache__" in name or name.endswith(".so")]


def test_the_commands_of_the_wheel_exist(wheel: Path, names: set[str]) -> None:
    (entry_points,) = (name for name in names if name.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read(entry_points).decode().splitlines()
    scripts = dict(line.split(" = ") for line in lines if "=" in line)
    assert scripts.pop("ttfs") == "ttfs_cupy.common.command.entry:front" and "ttfs_cupy/__main__.py" in names
    at_work = ("train", "evaluate", "predict", "robustness", "preview", "convert", "export", "simulate", "sweep")
    commands = (*at_work, "convert-config", "report", "energy", "check", "bench")
    assert {f"ttfs-{command}" for command in commands} == set(scripts)
    for name, value in scripts.items():
        command = name.removeprefix("ttfs-").replace("-", "_")
        assert value == f"ttfs_cupy.common.command.entry:{command}" and callable(getattr(entry, command))
        # a module, or a package, that can be run by `python -m`, too, but where it would hide the function of that name
        modules = {f"ttfs_cupy/{command}.py", f"ttfs_cupy/{command}/__main__.py"} & names
        assert bool(modules) != (command in ttfs_cupy.__all__), command


def requirements(wheel: Path, extra: str = "") -> set[str]:
    """The names of what the wheel asks for by itself, or of what the extra adds."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        content: Message = Parser().parsestr(archive.read(name).decode())
    found = set()
    for line in content.get_all("Requires-Dist", []):
        requirement, _, condition = line.partition(";")
        if condition.replace("'", '"').strip() == (f'extra == "{extra}"' if extra else ""):
            found.add(re.match(r"[\w-]+", requirement)[0])  # type: ignore[index]
    return found


def test_the_wheel_brings_no_cupy_but_by_an_extra(wheel: Path) -> None:
    cuda = {name for name in requirements(wheel) if name.startswith(("cupy", "nvidia", "cuda"))}
    assert "numpy" in requirements(wheel) and not cuda
    libraries = {"nvidia-cuda-nvrtc", "nvidia-cuda-runtime", "nvidia-cublas"}
    assert requirements(wheel, "cuda12") == {"cupy-cuda12x", *(f"{library}-cu12" for library in libraries)}
    assert requirements(wheel, "cuda13") == {"cupy-cuda13x", *libraries}


def test_the_wheel_is_all_that_pip_installs_beside_the_cupy_that_is_there(wheel: Path) -> None:
    """By pip's own resolver, offline: what it would have to fetch is an error. Of the CuPy's extra all is there."""
    major = cuda_libraries.wanted_major()
    if major is None:
        pytest.skip("no CuPy is installed, or its name does not tell its CUDA version")
    resolve = ("install", "--no-index", "--dry-run", "--quiet", "--report", "-")
    for what in (str(wheel), f"{wheel}[cuda{major}]"):
        would = json.loads(pip(*resolve, what))["install"]
        assert {entry["metadata"]["name"] for entry in would} <= {"ttfs-cupy"}
    other = {12: 13, 13: 12}[major]
    with pytest.raises(AssertionError, match=f"No matching distribution found for cupy-cuda{other}x"):
        pip(*resolve, f"{wheel}[cuda{other}]")


def test_there_is_one_cupy_and_nothing_conflicts() -> None:
    if cuda_libraries.wanted_major() is None:
        pytest.skip("no CuPy is installed, or its name does not tell its CUDA version")
    ((name, _),) = cuda_libraries.cupy_distributions()
    assert "No broken requirements found" in pip("check")
    # the folder holds what this one put there
    files = [file for file in metadata.files(name) or [] if file.parts[0] == "cupy" and file.suffix in (".py", ".json")]
    assert {"_version.py", "_wheel.json"} <= {file.name for file in files}
    for file in files:
        assert file.hash is not None and file.hash.mode == "sha256"
        digest = urlsafe_b64decode(file.hash.value + "=" * (-len(file.hash.value) % 4))
        assert sha256(file.read_binary()).digest() == digest, file


def test_the_installed_package_trains_without_repository_and_compiler(installed: Path, tmp_path: Path) -> None:
    """As on a bare machine: empty environment and home, no program on the PATH, the compiler of the ziglang wheel."""
    pytest.importorskip("ziglang", reason="the extra cpu brings the compiler that this test is about")
    home, bare_path, here = (tmp_path / name for name in ("home", "path", "elsewhere"))
    for folder in (home, bare_path, here):
        folder.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": str(bare_path),
        "PYTHONPATH": os.pathsep.join(map(str, [installed, *site_packages()])),
        # of this test's own making, so that a library cached by another one is not what runs
        "XDG_CACHE_HOME": str(home / "cache"),
    }

    def python(*arguments: str) -> str:
        # The interpreter below the virtual environment does not read the .pth files, hence no editable install.
        command = [getattr(sys, "_base_executable", sys.executable), *arguments]
        result = subprocess.run(
            command, cwd=here, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout.strip()

    assert python("-c", "import ttfs_cupy; print(ttfs_cupy.__file__)") == str(installed / "ttfs_cupy/__init__.py")
    compiler = python(
        "-c",
        "from ttfs_cupy.device.compilation import cpu_library; print(' '.join(cpu_library.find_compiler().command))",
    )
    assert compiler.endswith("-m ziglang c++")

    out = python("-m", "ttfs_cupy.train", "quickstart", "--device", "cpu", "--set", "training.epochs=1")
    assert "test accuracy" in out
    run = here / "runs" / "quickstart"
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "split.json",
        "previous.safetensors",
        "metrics.jsonl",
        "metrics.csv",
        "log.txt",
        "best.safetensors",
        "last.safetensors",
    }
    *epochs, test = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert len(epochs) == 1
    # of ten classes; one epoch whose slope goes all the way to 1 is too short for more
    assert test["test_accuracy"] > 0.3
    assert list((home / "cache" / "ttfs_cupy").glob("kernels-*.so"))
