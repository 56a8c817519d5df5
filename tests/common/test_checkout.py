"""A clone runs as it lies there: with the dependencies installed, and not the package. Without CuPy, too, on a CPU."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.environments import CODE, REPOSITORY, run, without

ONE_EPOCH = ("--device", "cpu", "--set", "training.epochs=1", "--no-tune")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As git lays it out, as far as Python might look at it."""
    root = tmp_path_factory.mktemp("checkout") / "clone"
    for folder in (*CODE, "docs", "tests"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("setup.cfg", "pyproject.toml"):
        shutil.copy(REPOSITORY / file, root)
    return root


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> str:
    return without(tmp_path_factory.mktemp("packages"))


@pytest.fixture(scope="module")
def packages_without_cupy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return without(tmp_path_factory.mktemp("fewer packages"), "cupy", "cuda", "nvidia")


def succeeds(*arguments: str, path: str, here: Path) -> str:
    done = run("-S", *arguments, variables={"PYTHONPATH": path}, here=here)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_training_and_what_follows(clone: Path, packages: str, tmp_path: Path) -> None:
    output = str(tmp_path / "run")
    train = ("-m", "ttfs_cupy.train", "configs/quickstart.yaml", *ONE_EPOCH, "--output", output)
    assert "test accuracy" in succeeds(*train, path=packages, here=clone)
    assert "test accuracy" in succeeds("-m", "ttfs_cupy.evaluate", output, path=packages, here=clone)


def test_the_benchmark_needs_no_metadata(clone: Path, packages: str) -> None:
    small = ("--networks", "vgg7", "--batch-size", "2", "--rounds", "1", "--work", "inference", "--against", "none")
    out = succeeds("-m", "ttfs_cupy.bench", *small, "--device", "cpu", path=packages, here=clone)
    assert "ttfs-cupy " in out and "vgg7" in out


def test_training_and_check_without_cupy(clone: Path, packages_without_cupy: str, tmp_path: Path) -> None:
    path = packages_without_cupy
    train = ("-m", "ttfs_cupy.train", "quickstart", *ONE_EPOCH, "--output", str(tmp_path / "run"))
    assert "test accuracy" in succeeds(*train, path=path, here=clone)
    last = succeeds("-m", "ttfs_cupy.check", "--device", "cpu", path=path, here=clone).splitlines()[-1]
    assert last.startswith(
        "all is well; no kernel was compiled for GPUs, since CuPy is not installed: pip install cupy-cuda12x "
        "nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12 nvidia-cublas-cu12"
    )


def test_a_script_elsewhere_and_the_processes_that_it_spawns(clone: Path, packages: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import multiprocessing

from ttfs_cupy import benchmarks, data, models
from ttfs_cupy.experiment.config import text as config_text


def layers(spec):
    return len(spec.layers)


if __name__ == "__main__":
    print(*(module.__file__ for module in (models, data, benchmarks)), *config_text.names())
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(layers, [models.read("vgg7"), models.read("vgg11")]))
"""
    )
    where, counts = succeeds(str(script), path=os.pathsep.join([packages, str(clone)]), here=tmp_path).splitlines()
    assert where.split()[:3] == [str(clone / folder / "__init__.py") for folder in ("models", "data", "benchmarks")]
    assert "quickstart" in where.split()
    assert counts == "[9, 13]"


def test_nothing_else_of_the_repository_is_imported_by_its_name(clone: Path, packages: str) -> None:
    code = """
import importlib.util
import ttfs_cupy
found = {name: importlib.util.find_spec(f"ttfs_cupy.{name}") is not None
         for name in ("models", "data", "configs", "benchmarks", "tests", "docs", "ttfs_cupy", "setup")}
print(*(name for name in found if found[name]))
"""
    assert succeeds("-c", code, path=packages, here=clone).split() == ["models", "data", "configs", "benchmarks"]


def test_an_editable_installation_of_another_checkout_does_not_mix_in(
    clone: Path, packages: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "models.py").write_text("raise AssertionError('the other one')")
    code = f"""
import sys
from importlib.machinery import PathFinder


class Editable:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return PathFinder.find_spec(name, [{str(other)!r}]) if name == "ttfs_cupy.models" else None


sys.meta_path.insert(0, Editable)
from ttfs_cupy import models
print(models.__file__)
"""
    assert succeeds("-c", code, path=packages, here=clone).strip() == str(clone / "models" / "__init__.py")


def test_an_installed_package_looks_nowhere_else(clone: Path, packages: str, tmp_path: Path) -> None:
    """Such as one that was installed with --target into a project which has a package `models` of its own."""
    project = tmp_path / "project"
    shutil.copytree(clone / "ttfs_cupy", project / "ttfs_cupy")
    for folder in CODE.keys() - {"ttfs_cupy"}:
        shutil.copytree(clone / folder, project / CODE[folder])
    (project / "models").mkdir()
    (project / "models" / "__init__.py").write_text("raise AssertionError('of the project')")
    code = "from ttfs_cupy import models; print(models.__file__)"
    assert succeeds("-c", code, path=packages, here=project).strip() == str(project / "ttfs_cupy/models/__init__.py")
