"""The figures: what is drawn, by the artists in the axes; and what every function promises of matplotlib."""

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from helpers import small_network
from helpers.environments import python
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from reference.comparison import DEVICE

from ttfs_cupy import UserError, models, plot
from ttfs_cupy.plot.spike_times import layers_of

INF = np.inf


def spikes() -> dict[str, np.ndarray]:
    """Of two images: a convolution, its pooling, a full connection."""
    conv = np.full((2, 1, 2, 2), INF, np.float32)
    conv[0, 0] = [[0.25, INF], [0.75, 1.0]]
    pool = np.full((2, 1, 1, 1), INF, np.float32)
    pool[0] = 0.25
    linear = np.full((2, 3), INF, np.float32)
    linear[0] = [INF, 0, 0.5]
    return {"conv1": conv, "pool1": pool, "linear1": linear}


TIMES = np.linspace(0, 1, 5)
DRAWN: dict[str, Callable[..., Axes]] = {
    "raster": lambda **more: plot.raster(spikes(), **more),
    "histogram": lambda **more: plot.spike_time_histogram(spikes(), **more),
    "trace": lambda **more: plot.potential_trace(TIMES, TIMES, 1 - TIMES, 0.5, **more),
    "confusion": lambda **more: plot.confusion_matrix(np.eye(3, dtype=int), **more),
}


@pytest.mark.parametrize("name", DRAWN)
def test_it_draws_into_the_axes_that_it_is_given_or_into_one_new_figure(name: str) -> None:
    own = Figure().add_subplot()
    assert DRAWN[name](ax=own) is own
    assert pyplot.get_fignums() == []
    before = dict(mpl.rcParams)
    new = DRAWN[name]()
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == [new.figure.number]  # type: ignore[union-attr]
    assert new in new.figure.axes
    new.figure.savefig(os.devnull, format="png")


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_input_is_drawn_as_the_same_bytes(name: str, tmp_path: Path) -> None:
    for number in (1, 2):
        DRAWN[name]().figure.savefig(tmp_path / f"{number}.png")
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_no_display_is_needed(tmp_path: Path) -> None:
    """Neither where none is asked for, nor where a backend with windows is."""
    code = (
        "from ttfs_cupy import plot\n"
        f"plot.confusion_matrix([[1, 0], [0, 1]]).figure.savefig({str(tmp_path / 'one.png')!r})\n"
    )
    for backend in ({}, {"MPLBACKEND": "TkAgg"}):
        result = python(code, variables=backend, unset=["DISPLAY", "WAYLAND_DISPLAY", *({"MPLBACKEND"} - {*backend})])
        assert (result.returncode, result.stderr) == (0, "")
        assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
        (tmp_path / "one.png").unlink()


def test_a_backend_that_there_is_not() -> None:
    code = (
        "from ttfs_cupy import UserError, plot\n"
        "try:\n    plot.confusion_matrix([[1]])\nexcept UserError as error:\n    print(error)\n"
    )
    result = python(code, variables={"MPLBACKEND": "foo"})
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("matplotlib refuses its settings (")
    assert result.stdout.endswith("): mend or unset MPLBACKEND=foo\n")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    for draw in DRAWN.values():
        with pytest.raises(UserError, match=r"matplotlib.* is not installed: pip install 'ttfs-cupy\[plot\]'"):
            draw()


# Raster


def dots(axes: Axes) -> list[list[tuple[float, float]]]:
    return [[(float(x), float(y)) for x, y in drawn.get_offsets()] for drawn in axes.collections]  # type: ignore[union-attr]


def names(axes: Axes) -> list[str]:
    """What stands above the windows, from the left."""
    return [text.get_text() for text in axes.texts if text.get_text() != "decided"]


def test_a_raster_has_a_dot_for_each_spike_in_its_layers_window_and_band() -> None:
    axes = plot.raster(spikes(), decision=2.5)
    conv, pool, linear = dots(axes)
    assert [x for x, _ in conv] == [1.25, 1.75, 2.0]
    # pooling takes no time of its own
    assert [x for x, _ in pool] == [1.25]
    assert [x for x, _ in linear] == [2.0, 2.5]
    for place, band in enumerate((conv, pool, linear)):
        assert all(place <= y < place + 1 for _, y in band)
    assert [y for _, y in conv] == sorted(y for _, y in conv)
    assert axes.get_xlim() == (1, 3)
    assert names(axes) == ["conv1\npool1", "linear1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "conv1\n4 neurons",
        "pool1\n1 neuron",
        "linear1\n3 neurons",
    ]
    (decided,) = axes.lines
    assert set(decided.get_xdata()) == {2.5}
    assert len(axes.patches) == 1, "every second window is shaded"


def test_a_silent_image_has_no_dots() -> None:
    assert dots(plot.raster(spikes(), image=1)) == [[], [], []]


def test_windows_have_their_length_and_the_input_one_of_its_own() -> None:
    times = {name: 2 * array for name, array in spikes().items()}
    axes = plot.raster({"input": np.array([[0.5], [INF]]), **times}, t_win=2.0)
    assert [[x for x, _ in band] for band in dots(axes)] == [[0.5], [2.5, 3.5, 4.0], [2.5], [4.0, 5.0]]
    assert axes.get_xlim() == (0, 6) and list(axes.get_xticks()) == [0, 2, 4, 6]
    assert names(axes) == ["input", "conv1\npool1", "linear1"]


def test_chosen_layers_keep_their_time_and_direct_coding_has_no_window_of_pixels() -> None:
    axes = plot.raster(spikes(), layers=["linear1"], first_window=0)
    assert [[x for x, _ in band] for band in dots(axes)] == [[1.0, 1.5]]
    assert axes.get_xlim() == (0, 2)


@pytest.mark.parametrize(("has_input", "first"), [(False, 1), (True, 1), (False, 0)])
def test_pooling_that_is_the_first_layer_shares_the_inputs_window(*, has_input: bool, first: int) -> None:
    shape, classes = small_network.SHAPE, small_network.CLASSES
    net = models.build(["P", 8, "P"], input_shape=shape, classes=classes, device=DEVICE)
    net.forward(net.encode(small_network.images(2)))
    times = {"input": np.zeros((2, 4))} if has_input else {}
    found = {layer.name: layer.window for layer in layers_of({**times, **net.spike_times()}, net.t_win, first)}
    # pixels that are no spikes have no window
    assert found == {**dict.fromkeys(times, 0), "pool1": 0, "conv1": first, "pool2": first}


def test_a_decision_in_the_readouts_window_has_that_drawn() -> None:
    axes = plot.raster(spikes(), decision=3.25)
    assert names(axes)[-1] == "readout" and axes.get_xlim() == (1, 4)


def test_of_a_large_layer_an_even_sample_is_drawn() -> None:
    times = np.linspace(0, 1, 1001)[None]
    axes = plot.raster({"conv1": times}, most_neurons=11, first_window=0)
    ((*band,),) = dots(axes)
    np.testing.assert_allclose([x for x, _ in band], np.linspace(0, 1, 11))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv1\n11 of 1,001"]


def test_a_network_is_drawn() -> None:
    net = small_network.build()
    net.forward(net.encode(small_network.images(3)))
    times = net.spike_times()
    axes = plot.raster(times, image=2)
    assert [len(band) for band in dots(axes)] == [int(np.isfinite(array[2]).sum()) for array in times.values()]
    plot.spike_time_histogram(times, ax=Figure().add_subplot())


# Histogram


@given(st.integers(1, 7), st.sampled_from([0.1, 1.0, 2.5]), st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_a_histograms_shares_are_those_of_all_neurons(bins: int, t_win: float, seed: int) -> None:
    drawn = np.random.default_rng(seed).random((3, 2, 4, 5)).astype(np.float32)
    times = np.where(drawn < 0.3, np.float32(INF), np.float32(t_win) * drawn)
    times[0, 0, 0, 0] = t_win  # in float32 above 0.1
    axes = plot.spike_time_histogram({"conv1": times}, t_win=t_win, bins=bins, ax=Figure().add_subplot())
    (shares,) = (patch.get_data().values for patch in axes.patches)  # type: ignore[attr-defined]
    silent = np.isinf(times).mean()
    assert len(shares) == bins
    np.testing.assert_allclose(shares.sum(), 100 * (1 - silent))
    legend = axes.get_legend()
    assert legend is not None and legend.get_texts()[0].get_text() == f"conv1: {100 * silent:.1f} % silent"


@pytest.mark.filterwarnings("error")
def test_where_all_are_silent_a_histogram_is_empty() -> None:
    silent = {name: np.full_like(times, INF) for name, times in spikes().items()}
    axes = plot.spike_time_histogram(silent)
    axes.figure.savefig(os.devnull, format="png")
    assert axes.get_yscale() == "linear" and axes.get_ylim() == (0, 1)
    one_fires = plot.spike_time_histogram({**silent, "linear1": spikes()["linear1"]})
    one_fires.figure.savefig(os.devnull, format="png")
    assert one_fires.get_yscale() == "log"


# Trace


def test_a_trace_marks_the_spike_on_the_threshold() -> None:
    axes = plot.potential_trace(TIMES, 0.2 + TIMES, 1 - TIMES, 0.4)
    (mark,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose([*mark.get_xdata(), *mark.get_ydata()], [0.4, 0.6])
    silent = [plot.potential_trace(TIMES, TIMES, 1 - TIMES, spike, ax=None) for spike in (None, INF)]
    assert all(line.get_marker() != "o" for axes in silent for line in axes.lines)


@pytest.mark.filterwarnings("error")
def test_a_threshold_that_is_there_in_its_window_alone_has_gaps() -> None:
    gap = np.nan
    axes = plot.potential_trace(TIMES, [0, 0.1, gap, 0.5, 0.6], [gap, gap, 1, 0.8, gap], 0.625)
    (mark,) = (line for line in axes.lines if line.get_marker() == "o")
    np.testing.assert_allclose(mark.get_ydata(), [0.9])
    axes.figure.savefig(os.devnull, format="png")


# Confusion matrix


def written(axes: Axes) -> dict[tuple[int, int], str]:
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def test_a_confusion_matrix_of_labels_has_rows_of_the_true_class() -> None:
    axes = plot.confusion_matrix(([0, 0, 0, 1, 2], np.array([0, 0, 1, 1, 0])), ["$$", "b", "c"])
    assert written(axes) == {(0, 0): "2", (0, 1): "1", (1, 1): "1", (2, 0): "1"}
    (image,) = axes.images
    np.testing.assert_allclose(image.get_array(), 100 * np.array([[2 / 3, 1 / 3, 0], [0, 1, 0], [1, 0, 0]]))
    assert axes.get_title() == "5 images, accuracy 60.00 %"
    assert [text.get_text() for text in axes.get_yticklabels()] == ["$$", "b", "c"]
    axes.figure.savefig(os.devnull, format="png")


def test_a_large_matrix_has_no_numbers_and_fewer_names() -> None:
    axes = plot.confusion_matrix(np.ones((100, 100), int))
    assert not axes.texts and 10 <= len(axes.get_xticks()) <= 50
    assert len(plot.confusion_matrix(np.ones((10, 10), int)).texts) == 100
    assert plot.confusion_matrix(np.zeros((2, 2), int)).get_title() == "0 images"


# What is refused


def changed(**more: Any) -> dict[str, Any]:
    return {**spikes(), **more}


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: plot.raster({}), r"spike_times must map layers' names to their spike times, .*, not \{\}"),
        (lambda: plot.raster([1, 2]), "spike_times must map layers' names"),  # type: ignore[arg-type]
        (lambda: plot.raster({3: np.ones((1, 1))}), "but has the key 3"),  # type: ignore[dict-item]
        (lambda: plot.raster(changed(conv1=np.ones(3))), r"of layer 'conv1' must have shape .*, not \(3,\)"),
        (lambda: plot.raster(changed(conv1=np.ones((0, 3)))), r"without a 0, not \(0, 3\)"),
        (lambda: plot.raster(changed(conv1=[["a"]])), "layer 'conv1' must be a NumPy array of numbers"),
        (lambda: plot.raster(changed(conv1=[[1], [1, 2]])), "layer 'conv1' must be a NumPy array of numbers"),
        (lambda: plot.raster(changed(linear1=np.ones((3, 3)))), "holds 2 images of layer 'conv1', but 3 of layer"),
        (lambda: plot.raster(changed(conv1=np.full((2, 1), np.nan))), r"must lie in \[0, 1\], or be inf"),
        (lambda: plot.raster(changed(conv1=np.full((2, 1), -INF))), r"must lie in \[0, 1\], or be inf"),
        (lambda: plot.raster(spikes(), t_win=0.5), r"must lie in \[0, 0.5\], .*; is t_win right\?"),
        (lambda: plot.raster(spikes(), t_win=0), "t_win must be a number above 0, not 0"),
        (lambda: plot.raster(spikes(), image=2), "image must be one of the 2 that spike_times holds, from 0, not 2"),
        (lambda: plot.raster(spikes(), image=-1), "image must be a whole number from 0"),
        (lambda: plot.raster(spikes(), layers=["conv9"]), r"layers must name some of conv1, pool1, linear1, not \["),
        (lambda: plot.raster(spikes(), layers="conv1"), "layers must name some of conv1, pool1, linear1"),
        (lambda: plot.raster(spikes(), layers=5), "layers must name some of conv1, pool1, linear1"),  # type: ignore[arg-type]
        (lambda: plot.raster(spikes(), layers=[]), "layers must name some of conv1, pool1, linear1"),
        (lambda: plot.raster(spikes(), decision=5), "decision must be a number from 0 to 4, not 5"),
        (lambda: plot.raster(spikes(), most_neurons=0), "most_neurons must be a whole number from 1"),
        (lambda: plot.spike_time_histogram(spikes(), bins=0), "bins must be a whole number from 1"),
        (lambda: plot.spike_time_histogram(None), "spike_times must map layers' names"),  # type: ignore[arg-type]
        (lambda: plot.potential_trace([1], [1], [1]), "times must be two or more finite numbers in a row"),
        (lambda: plot.potential_trace([0, 1], [0, 1, 2], [0, 1]), "potential must have a value for each of the 2"),
        (lambda: plot.potential_trace([0, 1], [0, 1], [np.nan, np.nan]), "or more .* where there is a gap, not"),
        (lambda: plot.potential_trace([0, 1], [0, INF], [0, 1]), "potential must be two or more finite"),
        (lambda: plot.potential_trace([0, np.nan], [0, 1], [0, 1]), "times must be .* in a row, not"),
        (lambda: plot.potential_trace([1, 0], [0, 1], [0, 1]), "times must rise"),
        (lambda: plot.potential_trace([1, 1], [0, 1], [0, 1]), "times must rise"),
        (lambda: plot.potential_trace([0, 1], [0, 1], [0, 1], 2), "spike must be a time from 0 to 1, or None or inf"),
        (lambda: plot.potential_trace([0, 1], [0, 1], [0, 1], np.nan), "spike must be a time from 0 to 1"),
        (lambda: plot.confusion_matrix([1, 2]), r"matrix must have shape \(classes, classes\), not \(2,\)"),
        (lambda: plot.confusion_matrix([[0.5]]), "matrix must hold whole numbers from 0"),
        (lambda: plot.confusion_matrix([[-1]]), "matrix must hold whole numbers from 0"),
        (lambda: plot.confusion_matrix([["x"]]), "matrix must be a NumPy array of numbers"),
        (lambda: plot.confusion_matrix(([0, 1], [0])), r"must be as many numbers, in a row, not \(2,\) and \(1,\)"),
        (lambda: plot.confusion_matrix(([0, 1], [0, -1])), "predictions must hold whole numbers from 0"),
        (lambda: plot.confusion_matrix(([0], [10**9])), "a matrix of 1,000,000,001 classes cannot be drawn"),
        (lambda: plot.confusion_matrix([[1]], 5), "class_names must be a list of names"),  # type: ignore[arg-type]
        (lambda: plot.confusion_matrix([[1]], {"a"}), "class_names must be a list of names"),  # type: ignore[arg-type]
        (lambda: plot.confusion_matrix([[1]], "a"), "class_names must be a list of names"),
        (lambda: plot.confusion_matrix([[1]], ["a", "b"]), "class_names must be 1 names, one for each class"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(draw: Callable[[], Axes], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        draw()
    assert pyplot.get_fignums() == [], "no figure is left half drawn"
