"""The tuner: what it takes, what it drops, what it remembers."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.any_threads import AnyThreads

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution import choice, tuner
from ttfs_cupy.convolution.algorithm import PASSES
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tiles import forward_tiles
from ttfs_cupy.convolution.tuner import Tuner, TuningCache
from ttfs_cupy.convolution.winograd import Winograd
from ttfs_cupy.device import CpuDevice, parts
from ttfs_cupy.engine.layers import Weighted

emulated = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

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


def test_what_is_remembered_is_of_these_algorithms_and_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    read, read_text = set[Path](), Path.read_text

    def noted(path: Path) -> str:
        read.add(path)
        return read_text(path)

    monkeypatch.setattr(Path, "read_text", noted)
    tuner._digest.__wrapped__()
    folder = Path(tuner.__file__).parent
    assert read >= set(folder.rglob("*.py")) > {folder / "tensorcore" / "tiles.py"}
    assert Path(parts.__file__) in read
    assert {path.name for path in read} >= {"neuron.h", "winograd.cu", "tensorcore_forward.cu", "steps.h"}


@pytest.mark.parametrize(
    "changed",
    [
        {"threads": 1},
        {"batch_size": 5},
        {"shape": ConvolutionShape((9, 9), 17, 20, (3, 3))},
        {"version": "0"},
        {"is_first": True},
    ],
    ids=str,
)
def test_what_a_choice_depends_on(changed: dict[str, Any], cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    Tuner(AnyThreads(2), cache).choose(SHAPE, 4, is_first=False)
    if "version" in changed:
        monkeypatch.setattr(tuner, "__version__", changed["version"])
    device = AnyThreads(changed.get("threads", 2))
    arguments = (changed.get("shape", SHAPE), changed.get("batch_size", 4))
    Tuner(device, cache).choose(*arguments, is_first=changed.get("is_first", False))
    assert len(json.loads(cache.path.read_text())) == 2


@pytest.mark.parametrize("content", ["", "{", "[1]", "7", '{"x": {"forward": "gemm"}}', "\x00\xff"])
def test_a_corrupt_cache_is_no_error(content: str, cache: TuningCache) -> None:
    cache.path.write_text(content)
    passes = Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False)
    assert passes.name and json.loads(cache.path.read_text())


def test_a_cache_nested_by_the_thousand_is_no_error(cache: TuningCache) -> None:
    """Also where it can be read, and could not be written again."""
    for depth in (900, 100_000):
        cache.path.write_text('{"x": ' + "[" * depth + "]" * depth + "}")
        again = TuningCache(cache.path)
        again.put("y", {"forward": "gemm"})
        assert TuningCache(cache.path).get("y") == {"forward": "gemm"}


@pytest.mark.parametrize("there", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_a_cache_that_is_no_file_is_no_error(there: Callable[[Path], None], cache: TuningCache) -> None:
    there(cache.path)
    assert Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False).name


@pytest.mark.parametrize(
    "entry",
    [
        *(7, {}, {"forward": "gemm"}, {"sideways": "gemm"}, dict.fromkeys(PASSES, "nonsense")),
        *({key: ["gemm"] for key in PASSES}, dict.fromkeys(PASSES, f"gemm:{'9' * 5000}")),
    ],
    ids=lambda entry: str(entry)[:40],
)
def test_a_corrupt_entry_is_tuned_anew(entry: Any, cache: TuningCache) -> None:
    Tuner(CpuDevice(2), cache).choose(SHAPE, 2, is_first=False)
    (key,) = json.loads(cache.path.read_text())
    cache.path.write_text(json.dumps({key: entry}))
    Tuner(CpuDevice(2), TuningCache(cache.path)).choose(SHAPE, 2, is_first=False)
    assert set(json.loads(cache.path.read_text())[key]) == set(PASSES)


def test_what_cannot_be_written_is_kept_as_long_as_the_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was timed again and again."""

    def nowhere() -> Path:
        raise UserError("there is no place")

    monkeypatch.setattr(tuner, "cache_folder", nowhere)
    monkeypatch.setattr(tuner, "places", lambda: iter([tmp_path]))
    monkeypatch.setattr(tuner, "_unwritten", {}, raising=False)
    for path in (None, tmp_path / "no such folder" / "tuning.json"):
        first = Tuner(CpuDevice(2), TuningCache(path)).choose(SHAPE, 2, is_first=False)
        with monkeypatch.context() as patch:
            patch.setattr(Tuner, "_time", lambda *_: pytest.fail("tuned again"))
            again = Tuner(CpuDevice(2), TuningCache(path)).choose(SHAPE, 2, is_first=False)
        assert again.name == first.name
        assert len(TuningCache(path).all()) == 1
    assert not list(tmp_path.iterdir())


def test_only_what_fits_is_tried(cache: TuningCache) -> None:
    passes = Tuner(CpuDevice(2), cache).choose(ConvolutionShape((9, 9), 30, 5, (5, 5)), 2, is_first=False)
    assert passes.name == "gemm" and not cache.path.exists()


def test_a_network_is_tuned_layer_by_layer(cache: TuningCache) -> None:
    net = models.build([16, 16, "P"], (3, 8, 8), 10, "cpu")
    net.tune(4, Tuner(net.device, cache))
    assert len(json.loads(cache.path.read_text())) == 2
    assert set(net.algorithms) == {"conv1", "conv2", "readout"}


# Variants


ON_A_GPU = ConvolutionShape((6, 7), 17, 20, (3, 3), (1, 1), (1, 1))


class WrongTile(TensorCore):
    """As TensorCore, but for one of its ways to go forward."""

    def forward(self, images: Any, weights: Any, neuron: Any, out: Any, workspace: Any) -> None:
        super().forward(images, weights, neuron, out, workspace)
        if self.tile == 1:
            out.output[...] = 0.5


@emulated
def test_each_way_to_cut_the_work_is_tried(cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[set[str]] = []

    def last(self: Tuner, agreeing: dict[str, Any]) -> str:
        tried.append(set(agreeing))
        return max(name for name in agreeing if name.startswith("tensorcore:"))

    monkeypatch.setattr(Tuner, "_fastest", last)
    passes = Tuner(EmulatedGpu(), cache).choose(ON_A_GPU, 2, is_first=False)
    assert passes.name == "tensorcore:6/tensorcore:5/tensorcore:4"
    for names, count in zip(tried, (7, 6, 5), strict=True):
        assert names == {"gemm", "winograd", *(f"tensorcore:{number}" for number in range(count))}
    again = Tuner(EmulatedGpu(), TuningCache(cache.path)).choose(ON_A_GPU, 2, is_first=False)
    assert again.name == passes.name and len(tried) == 3
    assert isinstance(again.weight_gradient, TensorCore) and again.weight_gradient.tile == 4


@emulated
def test_a_wrong_way_is_dropped_by_name(
    cache: TuningCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = {"gemm": Gemm, "tensorcore": WrongTile}
    monkeypatch.setattr(choice, "algorithms", lambda: known)
    wanted = lambda self, agreeing: min(agreeing, key=lambda name: (name != "tensorcore:1", name))  # noqa: E731
    monkeypatch.setattr(Tuner, "_fastest", wanted)
    with caplog.at_level(logging.WARNING, logger="ttfs_cupy"):
        passes = Tuner(EmulatedGpu(), cache).choose(ON_A_GPU, 2, is_first=False)
    assert passes.name == "gemm/tensorcore:1/tensorcore:1"
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("convolution by tensorcore:1 is not used") and "its forward deviates" in warning


@emulated
def test_a_way_that_is_no_more_is_tuned_anew(cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tuner, "_fastest", lambda self, agreeing: "gemm")
    Tuner(EmulatedGpu(), cache).choose(ON_A_GPU, 2, is_first=True)
    (key,) = json.loads(cache.path.read_text())
    cache.path.write_text(json.dumps({key: {"forward": "tensorcore:99", "weight_gradient": "gemm"}}))
    assert Tuner(EmulatedGpu(), TuningCache(cache.path)).choose(ON_A_GPU, 2, is_first=True).name == "gemm"


@emulated
def test_a_first_layers_variant_is_of_its_own_passes(cache: TuningCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its data gradient is never computed; what it is called must be there all the same."""
    point = ConvolutionShape((3, 3), 17, 20, (1, 1))
    monkeypatch.setattr(Tuner, "_fastest", lambda self, agreeing: max(agreeing))
    passes = Tuner(EmulatedGpu(), cache).choose(point, 2, is_first=True)
    assert passes.name == "tensorcore:6/tensorcore/tensorcore:4"
    assert choice.algorithms_named(passes.name, EmulatedGpu(), point, "conv1").name == passes.name


@emulated
@pytest.mark.parametrize("number", ["0", "2"])
def test_a_network_takes_the_variant_that_is_named(number: str) -> None:
    device = EmulatedGpu()
    net = models.build([16, 16], (8, 6, 6), 10, device, convolution={"conv2": f"tensorcore:{number}"})
    assert net.algorithms["conv2"] == f"tensorcore:{number}"
    conv2 = net.layers[1]
    assert isinstance(conv2, Weighted) and isinstance(conv2.algorithms.forward, TensorCore)
    net.forward(net.encode(np.zeros((1, 8, 6, 6), np.float32)))
    used = [variant for variant, _ in device.reports if variant.kernel == "tensorcore_forward"]
    wanted = dict(forward_tiles(9)[int(number)].constants)
    assert any(wanted.items() <= dict(variant.constants).items() for variant in used)


@emulated
@pytest.mark.parametrize(
    ("convolution", "said"),
    [
        (
            "tensorcore:9",
            "layer conv1: tensorcore has no variant '9' for its forward, but 0, 1, 2, 3, 4, 5, 6; leave the",
        ),
        (
            "gemm/tensorcore:8/gemm",
            "layer conv1: tensorcore has no variant '8' for its data gradient, but 0, 1, 2, 3, 4, 5; leave",
        ),
        ("gemm:0", "layer conv1: gemm has no variant '0' for its forward, but none at all; leave the number out"),
    ],
)
def test_a_variant_that_is_not_there(convolution: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        models.build([16], (8, 6, 6), 10, EmulatedGpu(), convolution=convolution)
    assert said in str(caught.value)


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
