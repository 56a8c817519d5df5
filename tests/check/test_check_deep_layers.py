"""The stage `layers` of a deep check: every tile beside float64, on an emulated GPU with wrong kernels planted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers.kept_notes import Kept
from helpers.tensorcore_case import RESULTS_OF_KERNELS
from hypothesis import given, settings
from hypothesis import strategies as st

from ttfs_cupy.check.deep.references.layers import Products
from ttfs_cupy.check.deep.stages import layers
from ttfs_cupy.convolution.gemm import Gemm
from ttfs_cupy.convolution.shape import ConvolutionShape
from ttfs_cupy.convolution.tensorcore.split import TensorCore
from ttfs_cupy.convolution.tensorcore.tiles import forward_tiles, gradient_tiles, group_tiles, sum_tiles
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device.compilation.source import Variant

SMALL = ConvolutionShape((6, 5), 16, 12, (3, 3), padding=(1, 1))
CPU = CpuDevice(1)


class Spoiled(EmulatedGpu):
    """One kernel is wrong by a twentieth."""

    def __init__(self, kernel: str, place: int):
        super().__init__()
        self._spoilt = kernel, place

    def launch_blocks(self, variant: Variant, blocks: int, shared_bytes: int, *arguments: Any) -> None:
        super().launch_blocks(variant, blocks, shared_bytes, *arguments)
        kernel, place = self._spoilt
        if variant.kernel == kernel and arguments[place] is not None:
            arguments[place][...] *= 1.05


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator is slow, and its times say nothing."""
    monkeypatch.setattr(EmulatedGpu, "seconds", lambda device, work: 1e-3)


def test_every_tile_is_measured(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[tuple[str, str]] = []

    def one(layer: Any, way: Any, which: Any, wanted: Any) -> layers.Candidate:
        measured.append((which, way.name))
        return layers.Candidate(layer.name, layer.batch_size, which, way.name, 0.0, 1.0, 1.0)

    monkeypatch.setattr(layers, "_measured", one)
    layers.measure(kept, EmulatedGpu(), (SMALL,), 2)
    shape = ConvolutionShape((32, 32), 64, 64, (3, 3), padding=(1, 1))
    for which, tiles in (
        ("forward", [*forward_tiles(9), *group_tiles(9)]),
        ("data_gradient", gradient_tiles(9)),
        ("weight_gradient", sum_tiles(shape)),
    ):
        assert len(tiles) > 1
        names = [
            f"{kind}{way}" for kind in ("tensorcore", "tensorcore_tf32") for way in ("", ":0", f":{len(tiles) - 1}")
        ]
        assert {(which, name) for name in ("gemm", "winograd", *names)} <= set(measured)
    assert len(measured) == len(set(measured))


@pytest.fixture
def one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each kernel, since each is compiled for the emulator by itself."""
    monkeypatch.setattr(
        layers, "candidates_of", lambda device, shape, which: (kind(device, shape) for kind in (Gemm, TensorCore))
    )


@pytest.mark.usefixtures("untimed", "one_tile")
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_ways_are_compared_with_float64(kept: Kept) -> None:
    layers.measure(kept, EmulatedGpu(), (SMALL,), 2)
    figures, findings = kept.take()
    assert [finding.text for finding in findings if finding.attention] == []
    assert len(figures) == 6
    assert all(0 < figure["error"] <= figure["allowed"] for figure in figures)
    assert all(figure["microseconds"] == 1000 and figure["tflops"] > 0 for figure in figures)


@pytest.mark.usefixtures("untimed", "one_tile")
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
@pytest.mark.parametrize(("kernel", "place", "which"), RESULTS_OF_KERNELS)
def test_a_way_that_is_wrong_is_named(kernel: str, place: int, which: str, kept: Kept) -> None:
    layers.measure(kept, Spoiled(kernel, place), (SMALL,), 2)
    (text,) = kept.marked()
    assert text.startswith(f"6x5 16->12 {which} tensorcore error ")


@pytest.mark.usefixtures("untimed")
def test_a_way_that_raises_leaves_the_others(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(Gemm, "data_gradient", broken)
    layers.measure(kept, CPU, (SMALL,), 2)
    figures, findings = kept.take()
    (wrong,) = [figure for figure in figures if figure["problem"]]
    assert (wrong["algorithm"], wrong["error"], wrong["problem"]) == ("gemm", None, "RuntimeError: out of order")
    assert {figure["algorithm"] for figure in figures if not figure["problem"]} == {"gemm", "winograd"}
    assert [finding.text for finding in findings if finding.attention] == [
        "6x5 16->12 data_gradient gemm RuntimeError: out of order"
    ]


@pytest.mark.usefixtures("untimed")
def test_a_device_that_is_lost_ends_the_stage(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    device = CpuDevice(1)

    def lost(*_: Any) -> None:
        raise RuntimeError("illegal address")

    def broken(*_: Any) -> None:
        device.synchronize = lost  # type: ignore[method-assign]
        lost()

    monkeypatch.setattr(Gemm, "data_gradient", broken)
    layers.measure(kept, device, (SMALL, SMALL), 2)
    figures, findings = kept.take()
    assert figures[-1]["problem"] and [bool(figure["problem"]) for figure in figures].count(True) == 1
    marked = [finding.text for finding in findings if finding.attention]
    assert marked[-1] == "cpu is lost since data_gradient of 6x5 16->12 by gemm: RuntimeError: illegal address"


def test_layers_end_in_time(tmp_path: Path) -> None:
    kept = Kept(tmp_path, seconds=layers.SECONDS_OF_A_CANDIDATE / 2)
    layers.measure(kept, CPU, (SMALL,), 2)
    assert kept.marked() == ["out of time after 0 candidates, in forward of 6x5 16->12"]


@pytest.mark.usefixtures("untimed")
def test_what_the_choice_loses_and_cudnn(kept: Kept) -> None:
    ways = [
        layers.Candidate("a", 1, "forward", way, 0, 1, us) for way, us in (("tensorcore", 300), ("tensorcore:1", 200))
    ]
    ways += [layers.Candidate("b", 1, "forward", "gemm", 0, 1, 50.0)]
    peers = [layers.Cudnn(layer, 1, "forward", "TF32", 400.0, 1) for layer in "ab"]
    assert layers._of_pass(ways, peers, "forward").split("; ") == [
        "forward: the fastest candidates of 2 layers take 250 us",
        "untuned is slower: a 1.50 of tensorcore:1",
        "cuDNN TF32 800 us",
    ]


def test_vgg11s_layers() -> None:
    shapes = layers.shapes_of_vgg11()
    assert [(shape.in_size[0], shape.in_channels, shape.out_channels) for shape in shapes] == [
        *((32, 3, 128), (32, 128, 128), (16, 128, 256), (16, 256, 256), (8, 256, 512), (8, 512, 512)),
    ]


sizes = st.integers(1, 3)
NCHW = (0, 3, 1, 2)


@settings(deadline=None)
@given(st.integers(3, 7), st.integers(3, 7), sizes, sizes, sizes, sizes, sizes, sizes, st.integers(0, 2))
def test_float64_by_taps_is_pytorchs(
    height: int, width: int, inner: int, outer: int, tall: int, wide: int, down: int, across: int, padding: int
) -> None:
    torch = pytest.importorskip("torch")
    shape = ConvolutionShape((height, width), inner, outer, (tall, wide), (down, across), (padding, padding))
    draw = np.random.default_rng(0)
    images, weights = draw.standard_normal((2, height, width, inner)), draw.standard_normal((tall, wide, inner, outer))
    grad = draw.standard_normal((2, *shape.out_size, outer))
    x, w, g = (torch.from_numpy(array) for array in (images, weights, grad))
    x, w, g = (array.permute(order).contiguous() for array, order in ((x, NCHW), (w, (3, 2, 0, 1)), (g, NCHW)))
    x.requires_grad_(), w.requires_grad_()
    out = torch.nn.functional.conv2d(x, w, stride=(down, across), padding=padding)
    out.backward(g)
    products = Products(np, shape)  # type: ignore[arg-type]
    for actual, wanted, order in (
        (products.forward(images, weights), out.detach(), (0, 2, 3, 1)),
        (products.data_gradient(grad, weights), x.grad, (0, 2, 3, 1)),
        (products.weight_gradient(images, grad), w.grad, (2, 3, 1, 0)),
    ):
        np.testing.assert_allclose(actual, wanted.permute(order).numpy(), rtol=1e-12, atol=1e-12)
