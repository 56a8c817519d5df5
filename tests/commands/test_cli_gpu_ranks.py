"""ttfs-train over several GPUs made of NumPy, with NCCL between their processes."""

import os
from pathlib import Path

import pytest
from cuda_stand_in import Machine, device_of
from helpers.commands import metrics, run_small, small, weights
from helpers.several_ranks import spoken, trained

from ttfs_cupy import train as train_command
from ttfs_cupy.ranks import all_reduce

NOT_IN_ORDER = 77
SETTINGS = {"network__psp_slope": 0, "training__average": 0.9, "training__epochs": 1, "tune": False}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank's device is a stand-in; what that finds to be wrong is an exit code of its own."""
    machines: list[Machine] = []

    def get_device(name: str, threads: int | None = None) -> tuple[object, str]:
        machines.append(Machine())
        # GPUs of one computer
        machines[-1].bus = f"0000:{int(os.environ.get('RANK', 0)) + 1:02X}"
        return device_of(machines[-1]), "a stand-in"

    real = train_command.main

    def main(arguments: list[str]) -> int:
        code = real(arguments)
        machine = machines[-1]
        in_order = machine.violations == [] and machine.kinds().count("graph") > 10
        return code if in_order else NOT_IN_ORDER

    monkeypatch.setattr("ttfs_cupy.ranks.devices.get_device", get_device)
    monkeypatch.setattr(train_command, "main", main)
    monkeypatch.setattr(all_reduce, "SMALLEST_BYTES", 512)


@pytest.mark.usefixtures("gpus")
def test_two_gpus_train_as_one_and_go_on_on_three(tmp_path: Path) -> None:
    one, two = run_small(tmp_path / "one", **SETTINGS), tmp_path / "two"
    outcome = spoken(trained(2, tmp_path, *small(two, **SETTINGS)))
    assert (outcome.code, outcome.err) == (0, "")
    assert "gradients go by nccl: " in outcome.out and "launched kernel by kernel" not in outcome.out
    for line, other in zip(metrics(two), metrics(one), strict=True):
        for key in {"train_loss", "validation_loss", "test_loss"} & line.keys():
            assert line[key] == pytest.approx(other[key], rel=1e-4)
    assert weights(two, "last").keys() == weights(one, "last").keys()
    resumed = spoken(trained(3, tmp_path, "--resume", two, "--set", "training.epochs=2"))
    assert (resumed.code, resumed.err) == (0, "")
    assert "goes on on 3 ranks; it ran on 2 ranks" in resumed.out
