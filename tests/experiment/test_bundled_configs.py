"""The bundled configs: what they hold, and that they are found."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.configs import BUNDLED, MINIMAL, mistake
from helpers.environments import REPOSITORY

from ttfs_cupy import data, models
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config import text as config_text

CONFIGS = REPOSITORY / "configs"


def test_the_bundled_names() -> None:
    assert config_text.names() == sorted(BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_configs_load_and_name_things_that_exist(name: str) -> None:
    loaded = load_config(name)
    assert loaded.data.dataset in data.DATASETS
    assert loaded.data.augment in data.AUGMENTATIONS
    assert loaded.data.root == "datasets"
    models.read(loaded.network.model)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_key_of_a_bundled_config_carries_a_comment(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text()
    keys = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(keys) > 15
    for line in keys:
        assert re.fullmatch(r" *[a-z_]+\d?:.* # .+", line), line
        assert len(line) <= 120, line
    assert text.startswith("# ")


@pytest.mark.parametrize("name", [name for name in BUNDLED if not name.startswith("t2fsnn_")])
def test_sound_defaults_are_a_causal_code_with_standardised_weights_and_one_slope(name: str) -> None:
    network = load_config(name).network
    code = network.encoding or models.read(network.model).encoding
    assert code == models.read(network.model).encoding
    assert (network.standardize, network.clip, network.normalization) == (False, "gain", "weight")
    assert isinstance(network.psp_slope, float)


COLOURS = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@pytest.mark.parametrize(
    ("model", "dataset", "augment", "statistics"),
    [
        ("vgg11", "cifar10", "cifar", COLOURS),
        ("vgg11", "cifar100", "cifar", COLOURS),
        ("vgg7", "mnist", "none", (0.1307, 0.3081)),
        ("vgg7", "fmnist", "none", (0.2860, 0.3530)),
    ],
)
def test_the_example_runs_of_t2fsnn(model: str, dataset: str, augment: str, statistics: tuple[Any, Any]) -> None:
    loaded = load_config(f"t2fsnn_{model}_{dataset}")
    assert (loaded.network.model, loaded.network.clip, loaded.network.grad_clip) == (model, "separate", 1)
    assert (loaded.network.psp_slope, loaded.network.standardize) == (1, True)
    assert (loaded.data.dataset, loaded.data.augment) == (dataset, augment)
    assert (loaded.data.mean, loaded.data.std) == statistics
    assert (loaded.optimizer.name, loaded.optimizer.lr, loaded.optimizer.weight_decay) == ("adam", 1e-4, 0.1)
    assert (loaded.schedule.name, loaded.schedule.annealing) == ("exponential", 0.999)
    assert (loaded.training.epochs, loaded.training.batch_size, loaded.training.patience) == (1000, 256, 25)


@pytest.mark.parametrize("spelling", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_a_bundled_config_is_found_from_any_folder(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert load_config(spelling) == load_config(CONFIGS / "quickstart.yaml")
    assert mistake(spelling, "data=null").startswith("--set data=null: ")


def test_a_file_comes_before_a_bundled_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text(f"{MINIMAL}seed: 77\n")
    assert load_config("quickstart.yaml").seed == 77
    assert load_config("quickstart").seed == 0


def test_a_mistake_in_a_bundled_config_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mistake("quickstart", "schedule.name=multistep").startswith("configs/quickstart.yaml: schedule.milestones")


def test_bundled_configs_are_found_in_an_installed_copy(tmp_path: Path) -> None:
    # laid out as setup.cfg's package_dir installs it
    root, package = CONFIGS.parent, tmp_path / "ttfs_cupy"
    shutil.copytree(root / "ttfs_cupy", package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("configs", "models", "data"):
        shutil.copytree(root / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from ttfs_cupy import configs; from ttfs_cupy.experiment.config import load_config\n"
        "print(configs.__file__, load_config('quickstart').training.epochs)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str(package / "configs" / "__init__.py"), "30"]
