"""A run goes on, and is evaluated, on a device that lacks algorithms which it was made with."""

import errno
import os
import re
from pathlib import Path

import pytest
import yaml
from cuda_stand_in import Machine, device_of
from helpers.commands import Outcome, evaluate, metrics, run_small, train
from helpers.refusals import refused, tree

from ttfs_cupy.device import Device
from ttfs_cupy.experiment.config import dump_config, load_config
from ttfs_cupy.experiment.files.metrics import AFTER
from ttfs_cupy.experiment.prepare import prepare

MODEL = "[8, P, 16, P]"


def algorithms(run: Path) -> dict[str, str]:
    return dict(yaml.safe_load((run / "config.yaml").read_text())["network"]["convolution"])


def on_a_gpu(run: Path, capability: tuple[int, int]) -> Path:
    """A run's directory as a GPU would have left it: its config.yaml names what the GPU's convolves with."""
    with pytest.MonkeyPatch.context() as patch:
        gpu: Device = device_of(Machine(("null", "steps", "copies")), capability)
        patch.setattr("ttfs_cupy.ranks.devices.get_device", lambda name, threads=None: (gpu, "a stand-in"))
        config = load_config(run / "config.yaml", ["network.convolution=auto", "tune=false"])
        made = prepare(config).config.model_copy(update={"tune": True})
    (run / "config.yaml").write_text(dump_config(made))
    return run


@pytest.fixture(params=[(7, 5), (8, 0), (9, 0)], ids=str)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = run_small(tmp_path / "run", training__epochs=1, network__model=MODEL)
    return on_a_gpu(path, request.param)


def line_about(outcome: Outcome, names: dict[str, str]) -> None:
    """One line says of these layers, and of no others, that they are convolved in another way."""
    assert (outcome.code, outcome.err) == (0, ""), outcome
    lines = [line for line in outcome.out.splitlines() if "lacks algorithms" in line]
    assert len(lines) == min(1, len(names))
    assert dict(re.findall(r"(conv\d+) by \S+, not ([^\s,]+)", "".join(lines))) == names


def test_a_gpu_s_run_on_the_cpu(run: Path) -> None:
    named = algorithms(run)
    foreign = {name: one for name, one in named.items() if "first_layer" in one or "tensorcore" in one}
    assert foreign, named
    before = (run / "config.yaml").read_bytes()
    line_about(evaluate(run), foreign)
    assert (run / "config.yaml").read_bytes() == before
    line_about(train("--resume", run), foreign)
    assert metrics(run)[-1]["test_images"] > 0
    # what it went on with is what it is evaluated, and resumed, with from now on
    used = metrics(run)[-1]["convolutions"]
    assert algorithms(run) == {name: used[name] for name in named}
    # on record, layer by layer
    (change,) = [line for line in metrics(run) if AFTER in line]
    assert change[AFTER] == 1
    assert change["changes"] == {
        f"network.convolution.{name}": [named[name], used[name]] for name in named if named[name] != used[name]
    }
    assert {f"network.convolution.{name}" for name in foreign} <= change["changes"].keys()
    line_about(evaluate(run), {})
    line_about(train("--resume", run), {})
    assert [line for line in metrics(run) if AFTER in line] == [change]


def test_a_run_that_goes_on_elsewhere_keeps_the_rest_of_its_config(good_run: Path, tmp_path: Path) -> None:
    run, weights = tmp_path / "run", tmp_path / "begun.safetensors"
    weights.write_bytes((good_run / "best.safetensors").read_bytes())
    run_small(run, training__epochs=1, network__model=MODEL, network__initial_weights=str(weights))
    before = yaml.safe_load((on_a_gpu(run, (8, 0)) / "config.yaml").read_text()) | {"device": "auto"}
    weights.unlink()
    (run / "config.yaml").write_text(yaml.safe_dump(before))
    assert train("--resume", run, "--device", "cpu").code == 0
    after = yaml.safe_load((run / "config.yaml").read_text())
    assert after["network"].pop("convolution") != before["network"].pop("convolution")
    assert after == before | {"device": "cpu"}
    load_config(run / "config.yaml")


def test_a_config_that_cannot_be_rewritten_stays_whole(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(run)

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fails)
    refused(train("--resume", run), str(run / "config.yaml"), "cannot be written", "No space left on device")
    assert {**tree(run), "log.txt": None} == {**before, "log.txt": None}


@pytest.mark.parametrize("name", ["tensorcore:99", "gemm/gemm:7/gemm"])
def test_a_variant_that_is_not_there(name: str, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=1)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["network"]["convolution"] = {"conv1": "gemm", "conv2": name}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    line_about(evaluate(run), {"conv2": name})


def test_a_user_s_own_wish_is_refused_by_name(tmp_path: Path) -> None:
    run = run_small(tmp_path / "run", training__epochs=1)
    wish = "network.convolution={conv1: first_layer, conv2: gemm}"
    refused(train("quickstart", "--device", "cpu", "--set", wish, "--output", tmp_path / "new"), "conv1", "first_layer")
    assert not (tmp_path / "new").exists()
    refused(evaluate(run, "--set", "network.convolution.conv1=first_layer"), "conv1", "first_layer")
    refused(evaluate(run, "--set", "network.convolution=tensorcore"), "conv1", "tensorcore")
