"""Models: the bundled ones, what a list of layers may say, and what does not fit."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.models import ConvolutionSpec, LinearSpec, ModelSpec, PoolSpec, read

# The papers' tables: numbers are 3x3 convolutions with padding 1, P is 2x2 pooling
TABLE = {
    "vgg7": "64 128 P 256 256 P 512 512 P",
    "vgg11": "128 128 128 P 256 256 256 P 512 512 512 512 P",
    "wei_vgg11": "64 P 128 P 256 256 P 512 512 P 512 512 P",
    "wei_vgg16": "64 64 P 128 128 P 256 256 256 P 512 512 512 P 512 512 512 P",
}


def of_table(name: str) -> ModelSpec:
    entries = TABLE[name].split()
    layers = [
        PoolSpec((2, 2), (2, 2)) if e == "P" else ConvolutionSpec(int(e), (3, 3), (1, 1), (1, 1)) for e in entries
    ]
    if not name.startswith("wei"):
        return ModelSpec(tuple(layers), "latency")
    return ModelSpec((*layers, LinearSpec(4096), LinearSpec(4096)), "direct")


def parameters(name: str, channels: int, size: int, classes: int) -> int:
    """Counted by hand: 9 weights for each pair of channels; then full connections."""
    total = 0
    for entry in TABLE[name].split():
        if entry == "P":
            size //= 2
        else:
            total += 9 * channels * int(entry)
            channels = int(entry)
    inputs = channels * size * size
    for neurons in [4096, 4096, classes] if name.startswith("wei") else [classes]:
        total += inputs * neurons
        inputs = neurons
    return total


def mistake(model: Any, shape: tuple[int, int, int] = (1, 8, 8), **rule: Any) -> str:
    with pytest.raises(UserError) as caught:
        models.build(model, shape, 10, DEVICE, **rule)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bundled_models_are_those_of_the_table() -> None:
    assert models.names() == sorted(TABLE)
    for name in TABLE:
        assert models.read(name) == of_table(name), name


T2FSNN = {
    "vgg7": "64C3 - 128C3 - P2 - 256C3 - 256C3 - P2 - 512C3 - 512C3 - P2",
    "vgg11": "128C3 - 128C3 - 128C3 - P2 - 256C3 - 256C3 - 256C3 - P2 - 512C3 - 512C3 - 512C3 - 512C3 - P2",
}


@pytest.mark.parametrize("name", T2FSNN)
def test_t2fsnn_s_texts_are_the_bundled_models(name: str) -> None:
    text = T2FSNN[name]
    for spelled in (text, text.replace(" ", ""), text.replace(" - ", " -"), f" {text} "):
        assert read(spelled) == read(text.split(" - ")) == read({"layers": text}) == of_table(name)


def test_what_the_letters_of_a_text_mean() -> None:
    assert read("64C3 - P2 - 32C5 - 8C2 - P3 - 512F").layers == (
        ConvolutionSpec(64, (3, 3), (1, 1), (1, 1)),
        PoolSpec((2, 2), (2, 2)),
        ConvolutionSpec(32, (5, 5), (1, 1), (2, 2)),
        ConvolutionSpec(8, (2, 2), (1, 1), (1, 1)),
        PoolSpec((3, 3), (3, 3)),
        LinearSpec(512),
    )
    assert read(["64C3", "P2", 32, "P", {"linear": 256}, "10F"]) == read(
        [64, "P", 32, "P", {"linear": 256}, {"linear": 10}]
    )


def test_a_text_builds_and_a_readout_follows() -> None:
    net = models.build("8C3 - P2 - 16C5-32F", (1, 8, 8), 10, DEVICE)
    assert [layer.name for layer in net.layers] == ["conv1", "pool1", "conv2", "linear1", "readout"]
    assert {name: array.shape for name, array in net.state_dict().items()} == {
        "conv1.weight": (8, 1, 3, 3),
        "conv2.weight": (16, 8, 5, 5),
        "linear1.weight": (32, 16 * 4 * 4),
        "readout.weight": (10, 32),
    }


def test_a_yaml_file_whose_name_is_like_a_text(tmp_path: Path) -> None:
    file = tmp_path / "a-P2-8C3.yaml"
    file.write_text("8C3 - P2\n")
    assert read(file) == read(str(file)) == read("8C3 - P2")


@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("vgg7", (1, 28, 28), 10),
        ("vgg11", (3, 32, 32), 10),
        ("vgg11", (3, 32, 32), 100),
        ("wei_vgg11", (3, 32, 32), 10),
        ("wei_vgg16", (3, 32, 32), 10),
    ],
)
def test_bundled_models_build_for_their_images(name: str, shape: tuple[int, int, int], classes: int) -> None:
    net = models.build(name, shape, classes, DEVICE)
    assert (net.input_shape, net.classes) == (shape, classes)
    expected = parameters(name, shape[0], shape[1], classes)
    assert net.parameters.size == expected
    assert sum(array.size for array in net.state_dict().values()) == expected
    assert re.search(rf"^total +{expected:,} ", net.summary(), re.MULTILINE)
    assert net.encoder.encoding == ("direct" if name.startswith("wei") else "latency")


def test_parameters_of_known_networks() -> None:
    # sums worked out on paper: 9 (64 + 64·128 + 128·256 + 256² + 256·512 + 512²) + 512·9·10, and so on
    assert parameters("vgg7", 1, 28, 10) == 4_544_064
    assert parameters("vgg11", 3, 32, 10) == 10_112_384
    assert parameters("wei_vgg16", 3, 32, 10) == 14_710_464 + 512 * 4096 + 4096 * 4096 + 40_960


def test_summary_line_by_line() -> None:
    net = models.build([{"convolution": 4, "kernel": [1, 3], "padding": 0}, "P", {"linear": 6}], (2, 8, 10), 3, DEVICE)
    lines = net.summary().splitlines()
    # forward: drive and weight sum, two products; training: they, their two gradients by weights, and one by inputs,
    # which the first layer does not need
    conv, linear, readout = 4 * 2 * 3 * 64, 6 * 4 * 16, 6 * 3
    million = [f"{count / 1e6:,.2f} M" for count in (2 * conv, 4 * conv, 2 * linear, 5 * linear)]
    rows = [" ".join(line.split()) for line in lines]
    assert rows[2:-1] == [
        "input 2 x 8 x 10",
        f"conv1 4 x 8 x 8 24 {million[0]} {million[1]}",
        "pool1 4 x 4 x 4",
        f"linear1 6 {linear} {million[2]} {million[3]}",
        f"readout 3 {readout} 0.00 M 0.00 M",
        rows[7],
        f"total {24 + linear + readout} {(2 * (conv + linear + readout)) / 1e6:.2f} M "
        f"{(4 * conv + 5 * (linear + readout)) / 1e6:.2f} M",
    ]
    assert set(rows[7]) == {"-"}


def test_without_a_weight_sum_a_step_is_three_convolutions() -> None:
    spec = ({"convolution": 64}, {"convolution": 64})
    totals = []
    for slope in (1.0, 0.0):
        last = models.build(list(spec), (64, 32, 32), 10, DEVICE, psp_slope=slope).summary().splitlines()[-2]
        totals.append([float(number) for number in re.findall(r"([0-9.]+) M", last.replace(",", ""))])
    once = (2 * 9 * 64 * 64 * 1024 + 65536 * 10) / 1e6
    assert totals[0][0] == pytest.approx(2 * once, abs=0.01)
    assert totals[1][0] == pytest.approx(once, abs=0.01)
    assert totals[1][1] < 0.61 * totals[0][1]


# What a list may say


@pytest.mark.parametrize(
    ("entry", "spec"),
    [
        (64, ConvolutionSpec(64, (3, 3), (1, 1), (1, 1))),
        ("P", PoolSpec((2, 2), (2, 2))),
        ({"convolution": 8}, ConvolutionSpec(8, (3, 3), (1, 1), (1, 1))),
        ({"convolution": 8, "kernel": 5}, ConvolutionSpec(8, (5, 5), (1, 1), (2, 2))),
        ({"convolution": 8, "kernel": [1, 7]}, ConvolutionSpec(8, (1, 7), (1, 1), (0, 3))),
        ({"convolution": 8, "kernel": 4, "padding": 0}, ConvolutionSpec(8, (4, 4), (1, 1), (0, 0))),
        ({"convolution": 8, "stride": [2, 1], "padding": [1, 0]}, ConvolutionSpec(8, (3, 3), (2, 1), (1, 0))),
        ({"pool": 3}, PoolSpec((3, 3), (3, 3))),
        ({"pool": [2, 3], "stride": 1}, PoolSpec((2, 3), (1, 1))),
        ({"linear": 7}, LinearSpec(7)),
    ],
    ids=str,
)
def test_entries(entry: Any, spec: Any) -> None:
    assert models.read([entry]).layers == (spec,)
    assert models.read([spec]).layers == (spec,)


def test_output_shapes_follow_kernel_stride_and_padding() -> None:
    spec = [{"convolution": 3, "kernel": [2, 5], "stride": [2, 3], "padding": [1, 0]}, {"pool": [2, 3], "stride": 1}]
    net = models.build(spec, (1, 9, 20), 2, DEVICE)
    # (9 + 2 - 2) / 2 + 1 = 5, (20 - 5) / 3 + 1 = 6; then 5 - 2 + 1, 6 - 3 + 1
    assert [layer.out_shape for layer in net.layers] == [(5, 6, 3), (4, 4, 3), (1, 1, 2)]


def test_layers_are_named_by_kind_and_number() -> None:
    net = models.build([4, 4, "P", 4, "P", {"linear": 5}, {"linear": 5}], (1, 8, 8), 2, DEVICE)
    names = ["conv1", "conv2", "pool1", "conv3", "pool2", "linear1", "linear2", "readout"]
    assert [layer.name for layer in net.layers] == names


def test_a_model_may_be_a_yaml_file_or_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("layers: [8, P, {linear: 16}]\nencoding: direct\n")
    expected = ModelSpec((ConvolutionSpec(8), PoolSpec(), LinearSpec(16)), "direct")
    assert models.read(path) == models.read(str(path)) == expected
    assert models.read({"layers": [8, "P", {"linear": 16}], "encoding": "direct"}) == expected
    assert models.build(str(path), (1, 8, 8), 10, DEVICE).encoder.encoding == "direct"
    # an argument has the last word
    assert models.build(path, (1, 8, 8), 10, DEVICE, encoding="latency").encoder.encoding == "latency"
    path.write_text("[8, P]")
    assert models.read(path) == ModelSpec((ConvolutionSpec(8), PoolSpec()))


# What is wrong, and where


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("vgg12", ["'vgg12' is not known", "did you mean 'vgg11'"]),
        ("resnet", ["'resnet' is not known", "vgg11, vgg7, wei_vgg11, wei_vgg16"]),
        ("absent.yaml", ["'absent.yaml' cannot be read", "no such file"]),
        ([], ["list of at least one layer"]),
        ({"encoding": "latency"}, ["list of at least one layer"]),
        ({"layers": [8], "encodnig": "latency"}, ["encodnig", "did you mean encoding?"]),
        ({"layers": [8], "encoding": "rate"}, ["encoding must be latency or direct", "'rate'"]),
        ([8, "Q"], ["layer 2 is 'Q'", "P"]),
        ([8, None], ["layer 2 is null"]),
        ([8, 1.5], ["layer 2 is 1.5"]),
        ([0], ["layer 1", "whole number from 1, not 0"]),
        ([-3], ["layer 1", "whole number from 1, not -3"]),
        ([True], ["layer 1 is true"]),
        ([{"convolution": "8"}], ["layer 1", "whole number from 1, not '8'"]),
        ([{"convolution": 8, "kernal": 3}], ["layer 1", "kernal", "did you mean kernel?"]),
        ([{"convolution": 8, "kernel": 0}], ["layer 1, kernel", "from 1, not 0"]),
        ([{"convolution": 8, "kernel": [3, 3, 3]}], ["layer 1, kernel", "one whole number or two"]),
        ([{"convolution": 8, "kernel": 2.5}], ["layer 1, kernel", "2.5"]),
        ([{"convolution": 8, "stride": 0}], ["layer 1, stride", "from 1, not 0"]),
        ([{"convolution": 8, "padding": -1}], ["layer 1, padding", "from 0, not -1"]),
        ([{"pool": 16}], ["layer 1", "255 positions", "16 x 16"]),
        ([{"pool": 2, "padding": 1}], ["layer 1", "padding is not a key here"]),
        ([{"linear": 0}], ["layer 1", "whole number from 1, not 0"]),
        ([{"dense": 4}], ["layer 1", "convolution, pool, linear"]),
    ],
    ids=str,
)
def test_mistakes_in_a_model(model: Any, words: list[str]) -> None:
    message = mistake(model)
    for word in words:
        assert word in message


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("layers: [8")
    assert "is not YAML" in mistake(path)
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "line 1, is not UTF-8" in mistake(path)
    path.write_text("")
    assert "list of at least one layer" in mistake(path)
    assert "it is a directory, not a file" in mistake(folder_named(tmp_path / "folder.yaml"))


def folder_named(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_network_too_deep_names_the_layer_that_does_not_fit() -> None:
    message = mistake("vgg11", (3, 7, 7))
    assert "layer pool3 does not fit" in message
    assert "2 x 2 is larger than its input, 1 x 1" in message
    assert "images are 7 x 7" in message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"convolution": 4, "kernel": 9, "padding": 0}, ["conv1", "9 x 9", "8 x 8"]),
        ({"convolution": 4, "kernel": [3, 11], "padding": [0, 1]}, ["conv1", "3 x 11", "8 x 8 with padding 0 x 1"]),
        ({"pool": [9, 1]}, ["pool1", "9 x 1", "8 x 8"]),
    ],
    ids=str,
)
def test_kernels_larger_than_their_input(entry: Any, words: list[str]) -> None:
    for word in words:
        assert word in mistake([entry])


def test_a_kernel_may_cover_its_whole_input() -> None:
    net = models.build([{"convolution": 4, "kernel": 8, "padding": 0}], (1, 8, 8), 10, DEVICE)
    assert net.layers[0].out_shape == (1, 1, 4)


LAYERS: list[Any] = [
    8,
    {"convolution": 6, "kernel": 5, "stride": 2, "padding": 0},
    {"convolution": 6, "kernel": [3, 1]},
    {"pool": [2, 3], "stride": 2},
    {"linear": 9},
    ConvolutionSpec(4, (1, 1), (1, 1), (0, 0)),
]


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int64])
def test_numpys_integers_count_as_python_s(kind: Any) -> None:
    """build([np.int64(8)]) was refused."""

    def of_numpy(value: Any) -> Any:
        if isinstance(value, ConvolutionSpec):
            return ConvolutionSpec(*map(of_numpy, dataclasses.astuple(value)))
        if isinstance(value, (list, tuple)):
            return type(value)(map(of_numpy, value))
        if isinstance(value, dict):
            return {key: of_numpy(one) for key, one in value.items()}
        return kind(value) if isinstance(value, int) else value

    for model in (LAYERS, read(LAYERS)):
        spec = read(of_numpy(LAYERS) if model is LAYERS else dataclasses.replace(model, layers=of_numpy(model.layers)))
        assert repr(spec) == repr(read(LAYERS)), "Python's own"
    for bad in (np.bool_(True), kind(0), np.float32(8)):
        with pytest.raises(UserError, match="layer 1"):
            read([bad])


@pytest.mark.parametrize("rule", [{"encoding": "direct"}, {"standardize": True}])
def test_values_that_are_no_spikes_need_a_convolution_first(rule: dict[str, Any]) -> None:
    for spec in (["P", 8], [{"linear": 8}]):
        assert "put one there, or choose encoding latency without standardize" in mistake(spec, **rule)
