"""A layer that never fires is told of by name: the loss alone would only say that nothing is learnt."""

from pathlib import Path

import pytest
from helpers.commands import evaluate, metrics, small, train

from ttfs_cupy.engine.diagnosis import silent_layers
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.watching.silence import silence

SILENT = "and what is silent does not learn; "
PLAIN, STANDARDIZED = "network.normalization=none", "network.normalization=weight"
POTENTIALS = "set network.initial_potential"
WEIGHTS = "raise network.weight_mean or network.weight_std"
SLOPE, RATE = "begin with network.psp_slope 0", "lower optimizer.lr"


def warnings(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("warning: ")]


def test_silent_layers_are_told_of_once_and_when_they_are_evaluated(tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = train(*small(run, network__weight_mean=-1))
    assert (outcome.code, outcome.err) == (0, "")
    assert [line["firing_rates"] for line in metrics(run)[:2]] == [{"conv1": 0.0, "conv2": 0.0}] * 2
    advice = f"{SILENT}{WEIGHTS}, {SLOPE}, or {RATE}"
    said = f"warning: layers conv1, conv2 never fire on the {{}} images: nothing passes conv1, {advice}"
    assert warnings(outcome.out) == [said.format("validation")]
    lines = outcome.out.splitlines()
    assert lines[lines.index(said.format("validation")) - 1].startswith("epoch 1/2: ")
    assert warnings(evaluate(run).out) == [said.format("test")]


def test_layers_that_fire_are_not_told_of(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert warnings(train(*small(run, training__epochs=1)).out) == warnings(evaluate(run).out) == []


def test_what_is_said() -> None:
    rates = {"conv1": 0.5, "conv2": 0.0, "linear1": 1e-9}
    assert silent_layers(rates) == ["conv2"]
    assert silence(silent_layers(rates), "test", load_config("quickstart", [PLAIN])) == (
        f"warning: layer conv2 never fires on the test images: nothing passes conv2, {SILENT}{WEIGHTS}, or {RATE}"
    )


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        (["network.psp_slope=0"], f"{WEIGHTS}, or {RATE}"),
        (["network.psp_slope=0.5"], f"{WEIGHTS}, {SLOPE}, or {RATE}"),
        (
            ["network.psp_slope={from: 0.1, to: 0}", "network.initial_weights=w.safetensors"],
            f"{SLOPE}, or {RATE}",
        ),
        (["network.psp_slope=0", "network.initial_weights=w.safetensors"], RATE),
        # psp_slope 0 is refused beside it
        (["network.psp_slope=1", "network.clip=separate"], f"{WEIGHTS}, or {RATE}"),
        # what raw weights are drawn with is not what standardised ones are
        (["network.psp_slope=0.5", STANDARDIZED], f"{POTENTIALS}, {SLOPE}, or {RATE}"),
        (["network.psp_slope=0", STANDARDIZED, "network.initial_potential=true"], RATE),
    ],
)
def test_nothing_is_advised_that_is_so_already_or_would_be_refused(changes: list[str], advice: str) -> None:
    """To begin with psp_slope 0 was the advice where it was 0."""
    assert silence(["conv1"], "test", load_config("quickstart", [PLAIN, *changes])).endswith(SILENT + advice)


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ([], "set network.weight_mean {readout: 0.005}, or set network.silent latest"),
        (["network.initial_weights=w.safetensors"], "set network.silent latest"),
    ],
)
def test_a_readout_without_silent_classes_needs_another_cure(changes: list[str], advice: str) -> None:
    """What excluded classes are without is any gradient: neither potentials nor rates wake them."""
    settings = ["network.readout=spike_times", "network.silent=excluded", *changes]
    assert silence(["readout"], "test", load_config("quickstart", settings)).endswith(
        "nothing passes readout, and what is silent does not learn; " + advice
    )
