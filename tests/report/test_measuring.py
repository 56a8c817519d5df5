"""What a page says of a network, beside NumPy on the network's own spike times and readouts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import run_small
from helpers.page import Page

from ttfs_cupy.energy import table
from ttfs_cupy.energy.costs import MEMORY
from ttfs_cupy.energy.counting import LayerOperations, Operations
from ttfs_cupy.engine.network import Network
from ttfs_cupy.report.gathering.measuring import Measurements, _can_decide, confident_mistakes, measure, spikes_of
from ttfs_cupy.report.sections import operations as operations_section
from ttfs_cupy.report.sections.classes import classes, names_of
from ttfs_cupy.report.sections.decisions import decisions
from ttfs_cupy.report.sections.mistakes import MOST_NEURONS, mistakes, sample
from ttfs_cupy.trained.decision import decide
from ttfs_cupy.trained.opening import OpenedRun, open_run


@pytest.fixture(scope="module")
def opened(run: Path) -> OpenedRun:
    return open_run(run)


@pytest.fixture(scope="module")
def measured(opened: OpenedRun) -> Measurements:
    return measure(opened)


@pytest.fixture(scope="module")
def plain(opened: OpenedRun) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """All test images in one batch: the readout, and local spike times by layer, +inf for silence."""
    network, test = opened.network, opened.experiment.test.images
    images = test.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(test.maximum)
    readout = network.device.to_host(network.forward(network.encode(images)))
    times = {name: found.reshape(len(images), -1) for name, found in network.spike_times().items()}
    return readout, {layer.name: times[layer.name] for layer in network.layers if layer.is_spiking}


def test_neurons_are_counted_one_by_one(
    measured: Measurements, plain: tuple[np.ndarray, dict[str, np.ndarray]]
) -> None:
    for name, times in plain[1].items():
        # which neuron is which is another order: NHWC
        assert sorted(measured.fired[name]) == sorted(np.isfinite(times).sum(axis=0))
        assert sorted(measured.at_once[name]) == sorted((times == 0).sum(axis=0))
        found, _ = np.histogram(times[np.isfinite(times)], len(measured.spike_times[name]), (0, 1))
        # spikes at a bin's very edge may be rounded into the next one
        assert np.abs(found - measured.spike_times[name]).sum() <= 4
        assert found.sum() == measured.spike_times[name].sum()


def test_classes_and_probabilities(measured: Measurements, plain: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    readout, labels = plain[0].astype(np.float64), measured.labels
    np.testing.assert_array_equal(measured.predicted, readout.argmax(axis=1))
    expected = np.zeros((10, 10), int)
    for label, predicted in zip(labels, readout.argmax(axis=1), strict=True):
        expected[label, predicted] += 1
    np.testing.assert_array_equal(measured.confusion, expected)
    powers = np.exp(readout - readout.max(axis=1, keepdims=True))
    np.testing.assert_allclose(measured.probabilities, powers.max(axis=1) / powers.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_margins_and_moments_are_the_decisions(run: Path, slope: float) -> None:
    """At slope 0 they are had without a pass of their own."""
    opened = open_run(run)
    opened.network.psp_slope = slope
    found = measure(opened)
    test = opened.experiment.test
    made = [decide(opened.network, batch.inputs) for batch in test.epoch(0, opened.network.device)]
    assert found.margins is not None and found.times is not None
    np.testing.assert_array_equal(found.margins, np.concatenate([one.margins for one in made]))
    np.testing.assert_array_equal(found.times, np.concatenate([one.times for one in made]))


def test_mistakes_come_by_their_probability(measured: Measurements) -> None:
    wrong = np.flatnonzero(measured.labels != measured.predicted)
    chosen = confident_mistakes(measured, 12)
    assert len(chosen) == min(12, len(wrong)) > 0 and set(chosen) <= set(wrong)
    found = measured.probabilities[chosen]
    assert (np.diff(found) <= 0).all()
    others = sorted(set(wrong) - set(chosen))
    assert not others or measured.probabilities[others].max() <= found[-1]
    assert len(confident_mistakes(measured, 0)) == 0 and len(confident_mistakes(measured, 10**6)) == len(wrong)


def test_rasters_have_the_spikes_of_their_images(opened: OpenedRun, measured: Measurements, page: Page) -> None:
    chosen = confident_mistakes(measured, 12)
    layers = spikes_of(opened, chosen)
    assert [name for name, _ in layers] == ["input", "conv1", "conv2"]
    test = opened.experiment.test.images
    np.testing.assert_array_equal(layers[0][1], test.images[chosen].reshape(len(chosen), -1) / np.float32(test.maximum))
    (chart,) = (one for one in page.data["charts"] if one["id"] == "raster-0")
    dots = {tuple(dot) for dot in chart["data"]["spikes"]["rows"]}
    expected, row = set(), 0
    for window, (_, earliness) in enumerate(layers):
        for neuron in sample(earliness.shape[1]):
            if earliness[0, neuron]:
                expected.add((float(f"{window + 1 - earliness[0, neuron]:.4g}"), row))
            row += 1
        row += 8
    assert {row for _, row in dots} == {row for _, row in expected}
    for (ours, _), (theirs, _) in zip(sorted(dots, key=by_row), sorted(expected, key=by_row), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)


def by_row(dot: tuple[float, int]) -> tuple[int, float]:
    return dot[1], dot[0]


@pytest.mark.parametrize(
    ("changes", "windows"),
    [
        ({}, {"input": 0, "conv1": 1, "conv2": 2, "readout": 3}),
        ({"network__encoding": "direct"}, {"conv1": 0, "conv2": 1, "readout": 2}),
        # pixels are weights of the input's window, and no spikes
        ({"network__standardize": True}, {"conv1": 1, "conv2": 2, "readout": 3}),
        ({"network__readout": "spike_times"}, {"input": 0, "conv1": 1, "conv2": 2, "readout": 3}),
    ],
)
def test_each_layer_has_its_window(changes: dict[str, Any], windows: dict[str, int], tmp_path: Path) -> None:
    """One behind the other, at a t_win that is not 1; the answer is given in the readout's."""
    opened = open_run(run_small(tmp_path / "run", training__epochs=1, network__t_win=2, **changes))
    measured = measure(opened)
    found = mistakes(opened, measured, names_of(10, None), 3)
    assert found is not None
    for item in found.items:
        bands = item.chart.specification["layer"][0]["data"]["values"]
        assert {band["name"]: (band["from"], band["to"]) for band in bands} == {
            name: (2 * window, 2 * window + 2) for name, window in windows.items()
        }
        assert len(bands) == len(windows)
        for time, row in item.chart.data["spikes"][1]:
            # the readout's potentials have the whole height
            begin, end = next((one["from"], one["to"]) for one in bands if one["top"] < row < one["bottom"])
            assert begin <= time <= end
        ((moment,),) = item.chart.data["decided"][1]
        assert 2 * windows["readout"] <= moment <= 2 * windows["readout"] + 2


@pytest.mark.parametrize("fires", [False, True])
def test_why_all_answers_stand_at_once(fires: bool, measured: Measurements) -> None:
    """Potentials that do not move are the reason only where the readout has any."""
    same = np.full_like(measured.labels, 3, np.float32)
    found = decisions(replace(measured, psp_slope=0.0, readout_fires=fires, times=same))
    assert found is not None and len(found.charts) == 1
    assert ("its first neuron fires" in found.about[0]) == fires
    assert ("at psp_slope 0 its potentials do not change" in found.about[1]) != fires


def test_each_image_is_seen_once(opened: OpenedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """At slope 1, too, where potentials move within the readout's window."""
    counts, real = [], Network.run

    def counted(self: Network, inputs: Any, **options: Any) -> Any:
        counts.append(len(inputs))
        return real(self, inputs, **options)

    monkeypatch.setattr(Network, "run", counted)
    found = measure(opened)
    assert opened.network.psp_slope == 1 and sum(counts) == len(found.labels)


@pytest.mark.parametrize("factor", [1e36, np.inf])
def test_readouts_at_the_end_of_float32_decide_nothing(factor: float) -> None:
    """Their differences, or they themselves, are beyond it."""
    assert not _can_decide(np.array([[1, 2], [-300, 300]], np.float32) * np.float32(factor))
    assert _can_decide(np.array([[1, 2], [-300, 300]], np.float32))


def test_samples_are_the_same_each_time() -> None:
    assert sample(MOST_NEURONS).tolist() == list(range(MOST_NEURONS))
    many = sample(5000)
    assert len(set(many)) == MOST_NEURONS and (np.diff(many) > 0).all()
    np.testing.assert_array_equal(many, sample(5000))


def test_precision_and_recall(measured: Measurements) -> None:
    found = classes(measured, names_of(10, None))
    for k, row in enumerate(found.table.rows):
        right = int(((measured.labels == k) & (measured.predicted == k)).sum())
        images, predicted = int((measured.labels == k).sum()), int((measured.predicted == k).sum())
        assert row[0] == str(k) and row[1] == str(images) and row[3] == str(predicted)
        assert row[2] == f"{100 * right / images:.1f} %"
        assert row[4] == (f"{100 * right / predicted:.1f} %" if predicted else "\N{EN DASH}")


def test_names_of_classes_are_no_two_alike() -> None:
    assert names_of(3, None) == ["0", "1", "2"] == names_of(3, ["cat"])
    long = "x" * 40
    found = names_of(4, ["cat", long, long + "y", ""])
    assert len(set(found)) == 4 and found[0] == "cat" and found[3] == "3" and max(map(len, found)) < 40


def test_layers_say_what_is_silent(opened: OpenedRun, measured: Measurements, page: Page) -> None:
    rows = {row[0]: row for row in page.rows("Layers on the test set")[1:]}
    assert list(rows) == ["conv1", "conv2", "readout"]
    for name in ("conv1", "conv2"):
        rate = measured.fired[name].sum() / (len(measured.labels) * len(measured.fired[name]))
        silent = (measured.fired[name] == 0).sum()
        assert rows[name][3] == f"{100 * rate:.2f} %" and rows[name][5] == f"{silent:,}"


def test_shares_of_an_ann_are_those_of_the_command_energy() -> None:
    """Pixels of a direct code are multiplied each, which is work, too."""
    first = LayerOperations("conv1", 8, 6, connections=10, multiply_adds=20)
    last = LayerOperations("readout", 2, None, connections=16, synaptic_operations=8, input_spikes=6)
    found = Operations(images=2, psp_slope=0.0, accuracy=1.0, layers=(first, last))
    section = operations_section.energy(found)
    assert section.chart.table is not None and [row[-1] for row in section.chart.table.rows] == ["100.0 %", "25.0 %"]
    assert ": 4 synaptic operations" in section.about and "and 10 multiply-adds for pixels" in section.about
    assert "makes 26 multiply-adds: 53.8 %." in section.about
    told = "\n".join(table.lines(found, MEMORY))
    assert all(share in told for share in ("100.0 %", "25.0 %", "53.8 %"))
