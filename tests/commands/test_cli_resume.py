"""Runs that are interrupted, resumed, or begin with the weights of another run."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import FILES, STEPS, evaluate, metrics, run_small, small, timeless, train, weights

from ttfs_cupy.engine.steps.training_step import TrainingStep


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("short") / "run")


def test_control_c_ends_with_the_best_weights_on_disk(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "ttfs_cupy.train", *small(run, training__epochs=100_000)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # a shell that starts its jobs in the background may have told them to ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert f"--resume {run}" in out
    assert {file.name for file in run.iterdir()} == FILES
    assert not any("test_accuracy" in line for line in metrics(run))
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "")


class PowerCutError(Exception):
    """Stands for whatever ends a process at once."""


# slope and learning rate change at every step, moments and signs are remembered
CHANGING: dict[str, Any] = {
    "training__epochs": 3,
    "network__psp_slope": "{from: 0, to: 1, end: 0.6}",
    "optimizer__fixed_sign": True,
}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("whole") / "run", **CHANGING)


@pytest.mark.parametrize(
    ("ending", "step"),
    [
        ("control-c", 1),
        ("power cut", 1),
        ("control-c", STEPS + 5),
        ("power cut", 2 * STEPS),
        ("control-c", 3 * STEPS),
    ],
)
def test_an_interrupted_run_goes_on_to_the_same_bits(
    ending: str, step: int, whole_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    steps = 0
    real_step = TrainingStep.run

    def interrupted(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == step and ending == "power cut":
            raise PowerCutError
        if steps == step:
            signal.raise_signal(signal.SIGINT)
        real_step(*arguments)

    monkeypatch.setattr(TrainingStep, "run", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if ending == "power cut":
            with pytest.raises(PowerCutError):
                train(*small(broken, **CHANGING))
        else:
            outcome = train(*small(broken, **CHANGING))
            assert (outcome.code, outcome.err) == (130, "interrupted\n")
            assert set(weights(broken)) == {"conv1.weight", "conv2.weight", "readout.weight"}
            assert evaluate(broken).code == 0
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.setattr(TrainingStep, "run", real_step)

    outcome = train("--resume", broken)
    assert (outcome.code, outcome.err) == (0, "")
    assert timeless(broken) == timeless(whole_run)
    for name in ("best.safetensors", "last.safetensors"):
        assert (broken / name).read_bytes() == (whole_run / name).read_bytes(), name


def test_resuming_a_finished_run_measures_it_again(short_run: Path, tmp_path: Path) -> None:
    run = run_small(tmp_path / "run")
    before = timeless(run)
    assert train("--resume", run).code == 0
    assert timeless(run) == before == timeless(short_run)


def test_a_run_no_longer_needs_the_weights_that_it_began_with(short_run: Path, tmp_path: Path) -> None:
    begun_with = tmp_path / "begun.safetensors"
    begun_with.write_bytes((short_run / "best.safetensors").read_bytes())
    run = run_small(tmp_path / "run", network__initial_weights=str(begun_with))
    begun_with.unlink()
    assert evaluate(run).code == 0
    assert train("--resume", run).code == 0


def test_initial_weights_are_where_a_run_begins(short_run: Path, tmp_path: Path) -> None:
    # so small a rate moves no float32 weight of this size
    start = str(short_run / "best.safetensors")
    run = run_small(tmp_path / "run", network__initial_weights=start, optimizer__lr="1e-30", training__epochs=1)
    for name, array in weights(run).items():
        np.testing.assert_array_equal(array, weights(short_run)[name])
    assert metrics(run)[-1]["test_accuracy"] == metrics(short_run)[-1]["test_accuracy"]
