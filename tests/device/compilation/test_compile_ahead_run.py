"""Everything that a run asks for is compiled at its start, on a GPU made of NumPy (cuda_stand_in)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cuda_stand_in import Machine, device_of
from cuda_stand_in.library import StandInDevice

from ttfs_cupy import models
from ttfs_cupy.device.compilation.source import Variant
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.engine.steps.evaluation import Evaluator
from ttfs_cupy.experiment.config import dump_config, load_config
from ttfs_cupy.experiment.files.run_directory import RunDirectory
from ttfs_cupy.experiment.prepare import prepare
from ttfs_cupy.experiment.trainer import Trainer

# Pooling joined to a convolution on tensor cores, another one without, a full connection in ranges of channels
MODEL = "[8, P, 16, P, {convolution: 12, kernel: 1}, {linear: 20}]"
SETTINGS = {
    "device": "cuda",
    "tune": "false",
    "training.batch_size": "256",
    "training.epochs": "2",
    "network.model": MODEL,
}


class Watched(StandInDevice):
    """Notes the variants that are launched or weighed, and launches none of them."""

    asked: set[Variant]

    def registers(self, variant: Variant) -> int:
        self.asked.add(variant)
        return super().registers(variant)

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        self.asked.add(variant)


def watched(capability: tuple[int, int]) -> Watched:
    device = device_of(Machine(("null", "steps", "copies")), capability)
    device.__class__ = Watched
    assert isinstance(device, Watched)
    device.asked = set()
    return device


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("encoding", ["latency", "direct"])
@pytest.mark.parametrize("slope", ["0", "0.5", "{from: 0, to: 1, start: 0.5}", "{from: 1, to: 0, end: 0.5}"])
def test_a_run(
    slope: str, encoding: str, capability: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = watched(capability)
    monkeypatch.setattr("ttfs_cupy.ranks.devices.get_device", lambda name, threads=None: (device, "a stand-in"))
    settings = SETTINGS | {"network.psp_slope": slope, "network.encoding": encoding}
    config = load_config("quickstart", [f"{key}={value}" for key, value in settings.items()])
    experiment = prepare(config)
    ahead = set(device.compiled_ahead)
    run = RunDirectory.create(tmp_path / "run", dump_config(experiment.config))
    trainer = Trainer(
        experiment.config,
        experiment.network,
        experiment.optimizer(),
        experiment.training,
        experiment.validation,
        run,
    )
    trainer.fit()
    Evaluator(experiment.network, experiment.test.batch_size).over(experiment.test, "test")
    assert device.asked <= ahead
    # and hardly more
    sums = {dict(variant.constants).get("HAS_SUM") for variant in ahead if "weight" not in variant.kernel}
    assert sums - {None} == ({0} if slope == "0" else {1} if slope == "0.5" and encoding == "latency" else {0, 1})
    assert not capability >= (8, 0) or any(variant.kernel == "tensorcore_forward" for variant in device.asked)


def network(device: StandInDevice, slope: float = 0.0) -> Network:
    return models.build([16, "P", 16], (8, 8, 8), 5, device, psp_slope=slope)


def test_a_network_that_meets_another_kind_of_slope() -> None:
    """By somebody's own loop: all that is needed is compiled as the slope leaves 0, and at once."""
    device = watched((9, 0))
    net, optimizer = network(device), None
    assert not device.compiled_ahead
    optimizer = Adam(device, net.parameters)
    inputs, labels = np.zeros((4, 8, 8, 8), np.float32), np.zeros(4, np.int32)
    for slope in (0.0, 0.5, 1.0, 0.0):
        net.psp_slope = slope
        net.plan(4, training=True)
        ahead = set(device.compiled_ahead)
        net.train_step(device.to_device(inputs), device.to_device(labels), optimizer)
        assert device.asked <= ahead == device.compiled_ahead


@pytest.mark.parametrize("named", [False, True])
def test_smaller_batches_are_known_too(named: bool) -> None:
    device = watched((8, 0))
    net = network(device, 1.0)
    if named:
        conv2 = "tensorcore:1/tensorcore:0/tensorcore:2"
        net = models.build([16, "P", 16], (8, 8, 8), 5, device, psp_slope=1.0, convolution={"conv2": conv2})
    net.plan(40, training=True)
    ahead = set(device.compiled_ahead)
    for images in (40, 1, 7, 39):
        inputs = device.to_device(np.zeros((images, 8, 8, 8), np.float32))
        net.run(inputs)
        net.run(inputs, watch=lambda layer, output: None)
        net.differentiate(inputs, device.to_device(np.zeros(images, np.int32)))
    assert device.asked <= ahead == device.compiled_ahead
