"""CONTRIBUTING.md: its recipes work as they stand, and whatever it names exists."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from helpers.environments import CODE, REPOSITORY

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"<!-- file: (\S+) -->\n +```\w+\n(.*?)^ +```$", PAGE, re.MULTILINE | re.DOTALL))
TRIED = """
from pathlib import Path
from ttfs_cupy.check.kernels import check_kernels
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data import DATASETS
from ttfs_cupy.device import CpuDevice

(result,) = check_kernels(CpuDevice(1), ["scale"])
print(result.kernel, result.passed, result.problem)
print("twin" in algorithms(), "stripes" in DATASETS)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository's code with what the recipes add."""
    folder = tmp_path_factory.mktemp("contributed")
    for name in CODE:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, code in RECIPES.items():
        assert not (REPOSITORY / file).exists()
        (folder / file).write_text(textwrap.dedent(code))
    (entry,) = re.findall(r'`("stripes": Source\(.*?\))`', PAGE)
    datasets = folder / "data/sources/datasets.py"
    text = datasets.read_text().replace(
        "from ttfs_cupy.data.sources.mnist",
        "from ttfs_cupy.data.sources.stripes import read_stripes\nfrom ttfs_cupy.data.sources.mnist",
    )
    datasets.write_text(text.replace('    "digits": Source(', f'    {entry},\n    "digits": Source('))
    return folder


def run(tree: Path, *arguments: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_recipe_for_each() -> None:
    assert {Path(file).parts[0] for file in RECIPES} == {"ttfs_cupy", "data"} and len(RECIPES) == 4


def test_kernel_algorithm_and_data_set_are_known_without_a_list(tree: Path) -> None:
    assert run(tree, "-c", TRIED).split("\n")[:2] == ["scale True ", "True True"]


def test_the_algorithm_and_the_data_set_train(tree: Path) -> None:
    (call,) = re.findall(r"`\.venv/bin/python (-m ttfs_cupy\.train .*?)`", PAGE)
    short = ["--set", "network.convolution=twin", "--set", "network.model=[8]", "--set", "training.epochs=3"]
    said = run(tree, *call.split(), *short, "--device", "cpu", "--output", str(tree / "run"))
    assert "test accuracy 100.00 % on 20 images" in said
    assert "twin" in (tree / "run/config.yaml").read_text()


def test_every_named_path_exists() -> None:
    named = re.findall(r"`((?:ttfs_cupy|models|data|docs|tests|benchmarks)/[\w./-]*)`", PAGE)
    named += re.findall(r"\]\(([^)\s]+)\)", PAGE) + re.findall(r"tests/[\w/.]+", PAGE)
    assert len(named) > 10
    assert [path for path in named if path not in RECIPES and not (REPOSITORY / path.rstrip(".")).exists()] == []
