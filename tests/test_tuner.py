"""The tuner: what it takes, what it drops, what it remembers."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from ttfs_cupy import models
from ttfs_cupy.convolution import choice, tuner
from ttfs_cupy.convolution.algorithm import PASSES, algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tuner import Tuner, TuningCache
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.errors import UserError

SHAPE = ConvolutionShape((9, 10), 17, 20, (3, 3), (1, 1), (1, 1))


class Wrong(Winograd):
    """Faster than any other, and wrong in one pass."""

    name = "wrong"
    spoiled = "forward"

    def forward(self, images: Any, weights: Any, neuron: Any, out: Any, workspace: Any) -> None:
        super().forward(images, weights, neuron, out, workspace)
        if self.spoiled == "forward":
            out.output[...] = 0.5

    def data_gradient(self, outgoing: Any, weights: Any, grad_images: Any, workspace: Any) -> None:
        super().data_gradient(outgoing, weights, grad_images, workspace)
        if self.spoiled == "data_gradient":
            grad_images[...] = float("nan")

    def weight_gradient(self, images: Any, outgoing: Any, grad_weights: Any, workspace: Any) -> None:
        super().weight_gradient(images, outgoing, grad_weights, workspace)
        if self.spoiled == "weight_gradient":
            grad_weights[...] = 0


@pytest.fixture
def cache(tmp_path: Path) -> TuningCache:
    return TuningCache(tmp_path / "tuning.json")


def plant(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    known = {**algorithms(), kind.name: kind}
    monkeypatch.setattr(choice, "algorithms", lambda: known)


@pytest.mark.parametrize("spoiled", PASSES)
def test_a_wrong_algorithm_is_dropped_by_name(
    spoiled: str, cache: TuningCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Wrong, "spoiled", spoiled)
    plant(monkeypatch, Wrong)
    # whichever agrees is taken by the smallest time: the wrong one's would be
    monkeypatch.setattr(Tuner, "_fastest", lambda self, agreeing: "wrong" if "wrong" in agreeing else min(agreeing))
    with caplog.at_level(logging.WARNING, logger="ttfs_cupy"):
        passes = Tuner(CpuDevice(2), cache).choose(SHAPE, 4, is_first=False)
    for which in PASSES:
        assert (passes.of(which).name == "wrong") == (which != spoiled)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("convolution by wrong is not used") and spoiled.replace("_", " ") in warning


def test_every_algorithm_of_ours_agrees_with_gemm(cache: TuningCache, caplog: pytest.LogCaptureFixture) -> None:
    shapes = (SHAPE, ConvolutionShape((8, 8), 3, 33, (3, 3), (1, 1), (1, 1)), ConvolutionShape((7, 6), 40, 5, (3, 3)))
    with caplog.at_level(logging.WARNING, logger="ttfs_cupy"):
        for shape in shapes:
            Tuner(CpuDevice(2), cache).choose(shape, 2, is_first=False)
    assert not caplog.records


def test_a_choice_is_remembered(cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Tuner(CpuDevice(2), cache).choose(SHAPE, 4, is_first=False)
    monkeypatch.setattr(Tuner, "_time", lambda *_: pytest.fail("tuned again"))
    again = Tuner(CpuDevice(2), TuningCache(cache.path)).choose(SHAPE, 4, is_first=False)
    assert again.name == first.name


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": 1},
        {"batch": 5},
        {"shape": ConvolutionShape((9, 9), 17, 20, (3, 3))},
        {"version": "0"},
        {"is_first": True},
    ],
    ids=str,
)
def test_what_a_choice_depends_on(changed: dict[str, Any], cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    Tuner(CpuDevice(2), cache).choose(SHAPE, 4, is_first=False)
    if "version" in changed:
        monkeypatch.setattr(tuner, "__version__", changed["version"])
    device = CpuDevice(changed.get("threads", 2))
    arguments = (changed.get("shape", SHAPE), changed.get("batch", 4))
    Tuner(device, cache).choose(*arguments, is_first=changed.get("is_first", False))
    assert len(json.loads(cache.path.read_text())) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", "7", '{"x": {"forward": "gemm"}}', "\x00\xff"])
def test_a_corrupt_cache_is_no_error(content: str, cache: TuningCache) -> None:
    cache.path.write_text(content)
    passes = Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False)
    assert passes.name and json.loads(cache.path.read_text())


@pytest.mark.parametrize(
    "entry", [7, {}, {"forward": "gemm"}, {"sideways": "gemm"}, dict.fromkeys(PASSES, "nonsense")], ids=str
)
def test_a_corrupt_entry_is_tuned_anew(entry: Any, cache: TuningCache) -> None:
    Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False)
    (key,) = json.loads(cache.path.read_text())
    cache.path.write_text(json.dumps({key: entry}))
    Tuner(CpuDevice(2), TuningCache(cache.path)).choose(SHAPE, 2, is_first=False)
    assert set(json.loads(cache.path.read_text())[key]) == set(PASSES)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    cache = TuningCache(tmp_path / "no such folder" / "tuning.json")
    assert Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False).name


def test_only_what_fits_is_tried(cache: TuningCache) -> None:
    passes = Tuner(CpuDevice(2), cache).choose(ConvolutionShape((9, 9), 30, 5, (5, 5)), 2, is_first=False)
    assert passes.name == "gemm" and not cache.path.exists()


def test_a_network_is_tuned_layer_by_layer(cache: TuningCache) -> None:
    net = models.build([16, 16, "P"], (3, 8, 8), 10, "cpu")
    net.tune(4, Tuner(net.device, cache))
    assert len(json.loads(cache.path.read_text())) == 2
    assert set(net.algorithms) == {"conv1", "conv2", "readout"}


# Naming algorithms


def test_a_name_for_each_pass() -> None:
    net = models.build([16, 16], (16, 8, 8), 10, "cpu", convolution={"conv1": "gemm", "conv2": "gemm/winograd/gemm"})
    assert net.algorithms == {"conv1": "gemm", "conv2": "gemm/winograd/gemm", "readout": "gemm"}


@pytest.mark.parametrize(
    ("convolution", "said"),
    [
        (
            "nonsense",
            "convolution must be one of auto, direct, first_layer, gemm, tensorcore, tensorcore_tf32, winograd, not",
        ),
        ("gemm/gemm", "layer conv1: convolution 'gemm/gemm' must be one algorithm, or one for each of forward, "),
        ({"conv9": "gemm"}, "convolution names layer 'conv9', but the convolutions are conv1"),
        ({"conv1": "winograd"}, "layer conv1: winograd needs a 3 x 3 kernel at stride 1, not (5, 5) at stride (1, 1)"),
    ],
)
def test_a_wrong_name(convolution: Any, said: str) -> None:
    layer = {"convolution": 4, "kernel": 5, "padding": 2}
    with pytest.raises(UserError) as caught:
        models.build([layer], (3, 8, 8), 10, "cpu", convolution=convolution)
    assert said in str(caught.value)


def test_the_default_goes_by_the_shape() -> None:
    net = models.build([8, 16, 16, {"convolution": 16, "kernel": 5, "padding": 2}], (3, 8, 8), 10, "cpu")
    assert list(net.algorithms.values())[:4] == ["direct", "gemm", "winograd", "gemm"]
    assert choice.suited(SHAPE, CpuDevice(1)) is Winograd
