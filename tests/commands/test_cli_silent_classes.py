"""A run whose readout spikes and whose silent classes are excluded: trained, resumed, evaluated, used, exported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import command, cut_short, evaluate, metrics, resumes_to, run_small, small, train
from helpers.refusals import refused

from ttfs_cupy import load
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.export import command as export_command
from ttfs_cupy.report.gathering.measuring import confident_mistakes, measure
from ttfs_cupy.report.gathering.reading import read
from ttfs_cupy.report.sections.head import head
from ttfs_cupy.trained.opening import OpenedRun, open_run

# At the start every class spikes: one that is silent for its own images learns nothing of them, and they silence others
SETTINGS: dict[str, Any] = {
    "network__readout": "spike_times",
    "network__silent": "excluded",
    "network__model": "[32, P]",
    "network__psp_slope": 0,
    "network__t_win": 5,
    "network__weight_mean": 0.01,
    "network__weight_std": 0.05,
    "optimizer__lr": 0.001,
    "training__batch_size": 32,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("excluded") / "run", **SETTINGS)


@pytest.fixture(scope="module")
def opened(run: Path) -> OpenedRun:
    return open_run(run)


def test_it_learns_and_is_evaluated(run: Path) -> None:
    first, second, last = metrics(run)
    assert all(np.isfinite(line["train_loss"]) for line in (first, second))
    assert second["train_loss"] < first["train_loss"]
    # chance is 10 %; three seeds reached 82 to 89 %
    assert last["test_accuracy"] > 0.6
    outcome = evaluate(run)
    assert (outcome.code, outcome.err) == (0, "") and f"{last['test_loss']:.4f}" in outcome.out


def test_its_probabilities_are_those_of_its_loss(run: Path, opened: OpenedRun) -> None:
    test, last = opened.experiment.test, metrics(run)[-1]
    net = load(run)
    found = net.predict(test.images.images.transpose(0, 3, 1, 2))
    assert net.network.silent == "excluded"
    readouts = net.network.device.to_host(net.network.forward(net.network.encode(pixels_of(opened))))
    silent = readouts == 0
    spoke = ~silent.all(axis=1)
    assert (found.probabilities[spoke][silent[spoke]] == 0).all() and silent[spoke].any()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    own = found.probabilities[np.arange(len(test.labels)), test.labels].astype(np.float64)
    others = np.log(np.exp(np.where(silent, -np.inf, readouts)).sum(axis=1), where=spoke, out=np.zeros(len(own)))
    losses = np.where(own > 0, -np.log(np.where(own > 0, own, 1)), 104 + others)
    assert losses.mean() == pytest.approx(last["test_loss"], rel=1e-4)
    assert (found.classes == test.labels).mean() == pytest.approx(last["test_accuracy"])


def pixels_of(opened: OpenedRun) -> np.ndarray:
    return opened.experiment.test.images.images.transpose(0, 3, 1, 2) / np.float32(16)


def test_a_report_has_them_too(run: Path, opened: OpenedRun) -> None:
    measured = measure(opened)
    found = load(run).predict(pixels_of(opened))
    np.testing.assert_allclose(measured.probabilities, found.probabilities.max(axis=1), rtol=1e-6)
    surest = confident_mistakes(measured, 1)[0]
    assert measured.probabilities[surest] == measured.probabilities[~measured.is_right].max()
    facts = dict(head(read(run)).facts)
    assert facts["neuron"].endswith("readout spike_times, silent classes excluded")


def test_it_goes_on_to_the_same_bits(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    cut_short(monkeypatch, 50, *small(broken, **SETTINGS))
    resumes_to(run, broken)


def test_it_keeps_its_rule(run: Path) -> None:
    assert load_config(run / "config.yaml").network.silent == "excluded"
    words = "--resume cannot change network.silent, ", "begin a new run"
    refused(train("--resume", run, "--set", "network.silent=latest"), *words)


def test_without_a_readout_that_spikes_it_is_refused(tmp_path: Path) -> None:
    words = "network.silent has no effect with readout potential: leave it out, or choose spike_times"
    refused(train(*small(tmp_path / "run", network__silent="excluded")), words)
    assert not (tmp_path / "run").exists()


def test_its_onnx_file_excludes_them(run: Path, opened: OpenedRun, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    outcome = command(export_command.main, run, "--onnx", tmp_path / "digits.onnx")
    assert (outcome.code, outcome.err) == (0, "")
    session = runtime.InferenceSession(tmp_path / "digits.onnx", providers=["CPUExecutionProvider"])
    earliness, probabilities, _ = session.run(None, {"images": pixels_of(opened)})
    silent = (earliness == 0) & (earliness != 0).any(axis=1, keepdims=True)
    assert silent.any() and probabilities[silent].max() < 1e-37
    assert "0 for a silent class" in session.get_modelmeta().custom_metadata_map["outputs"]
