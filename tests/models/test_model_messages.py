"""Every sentence about a model, whole, as a user gets to read it (see tests/experiment/test_config_messages.py)."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference.comparison import DEVICE

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line
from ttfs_cupy.device import Device, get_device
from ttfs_cupy.models.spec import read

COUNT = "the number of neurons or channels must be"
ENTRY = (
    "but must be a number of channels, P, such as 64C3, P2 or 512F, or a mapping with one of convolution, pool, linear"
)
PART = "must be such as 64C3, P2 or 512F, with - between two parts"
KERNELS = "and kernels count up to 2,130,706,432"
SHAPE = "input_shape must be (channels, height, width), each from 1 to 1000000"

# a model's text → the sentence behind "model '{file}'"
FILES = {
    "": " must be a list of at least one layer, such as [64, P, {linear: 256}]",
    "[8": ", line 1: this is not YAML: expected ',' or ']', but got '<stream end>'",
    "layers: [8]\nlayers: [9]\n": ", line 2: the key layers stands in line 1 already: keep one of them",
    "[{linear: 4, linear: 4}]": ", line 1: the key linear stands in line 1 already: keep one of them",
    "[010, 1:30]": f", layer 2 is '1:30', {ENTRY}",
    "[2024-01-01]": f", layer 1 is '2024-01-01', {ENTRY}",
    "&a [*a]": ", line 1: the alias *a stands inside of what it names",
    f"[{'8, ' * 1001}]": " has 1,001 layers, but a model may have up to 1,000",
    f"[{'[' * 999}": ", line 1: lists and mappings are nested more than 32 deep",
    "[{linear: yes}]": f", layer 1: {COUNT} a whole number from 1, not 'yes'",
    "[{linear:4}]": ", line 1: linear:4 is one word to YAML: write a space after its colon",
    '[{linear: 4, "a\\nb": 4}]': r", layer 1: a\nb is not a key here; known are linear",
    "{layers: 8C3 - Q2}": f": its part 'Q2' {PART}",
    "{layers: [8], encoding: [latency]}": ": encoding must be latency or direct, not ['latency']",
    "[8, !!set {}]": ", line 1: the tag !!set is not known here: leave it out",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: repr(text[:40]))
def test_files(text: str, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text)
    assert sentence_of(file) == f"model '{file}'{FILES[text]}"


def test_files_that_are_none(tmp_path: Path) -> None:
    missing, large = tmp_path / "a.yaml", tmp_path / "large.yaml"
    large.write_bytes(b"#" * 300_000)
    assert sentence_of(missing) == f"model '{missing}' cannot be read: no such file"
    assert sentence_of(large) == f"model '{large}' is larger than 256 KiB: name a YAML file, which is a page or two"
    assert sentence_of("~nosuchuser/a.yaml") == (
        "model '~nosuchuser/a.yaml' cannot be read: its ~ names no user of this machine"
    )
    assert sentence_of("a\0.yaml") == (
        r"model 'a\x00.yaml' cannot be read: its name holds a NUL character, which no path may"
    )
    assert sentence_of("\ud800.yaml") == (
        r"model '\ud800.yaml' cannot be read: its name is no text in utf-8, which paths are written in here"
    )
    assert sentence_of("vgg12") == "model 'vgg12' is not known: did you mean 'vgg11'?"
    bundled = "vgg11, vgg7, wei_vgg11, wei_vgg16"
    assert sentence_of("8X3") == (
        f"model '8X3' is not known: bundled are {bundled}, else give a YAML file, or layers such as '64C3 - P2 - 512F'"
    )
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    assert sentence_of(tmp_path / "zero.yaml") == (
        f"model '{tmp_path / 'zero.yaml'}' cannot be read: it is a device, not a file"
    )


# layers as a text → the sentence behind "model '{text}'"
TEXTS = {
    "8C3 - P2 - 12X3": f": its part '12X3' {PART}",
    "8C3 -  - P2": f": its part '' {PART}",
    "8C3 -": f": its part '' {PART}",
    "8C3 P2 - P2": f": its part '8C3 P2' {PART}",
    "8C - P2": f": its part '8C' {PART}",
    "P2 - P2F": f": its part 'P2F' {PART}",
    f"P2 - {'9' * 5000}C3": f": its part '{'9' * 56}... {PART}",
    "8c3 - p2": " is not known: did you mean '8C3 - P2'?",
    "8C0": ", layer 1, kernel must be a whole number from 1, not 0",
    "8C3 - P16": ", layer 2: a pooling window may have up to 255 positions, not 16 x 16",
    "8C3 - 0F": f", layer 2: {COUNT} a whole number from 1, not 0",
    " - ".join(["P1"] * 1001): " has 1,001 layers, but a model may have up to 1,000",
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:40])
def test_texts(text: str) -> None:
    assert sentence_of(text) == f"model '{one_line(text)}'{TEXTS[text]}"


# a list of layers → the sentence
LISTS = [
    ([8] * 10**6, "the model has 1,000,000 layers, but a model may have up to 1,000"),
    ([10**5000], f"the model, layer 1: {COUNT} at most 1000000000, not a number of more than 100 digits"),
    (
        [{"convolution": 8, "stride": 2**40}],
        "the model, layer 1, stride must be at most 1000000000, not 1099511627776",
    ),
    ([["x" * 10**6] * 10], f"the model, layer 1 is ['{'x' * 55}..., {ENTRY}"),
    (models.ModelSpec((models.LinearSpec(-1),)), f"the model, layer 1: {COUNT} a whole number from 1, not -1"),
    (
        [65536, 10**9],
        f"layer conv2 is too large: it has 589,824,000,000,000 weights, {KERNELS}; "
        "make it or the layers below it smaller",
    ),
    (
        [{"convolution": 1, "kernel": 1, "padding": 10**6}],
        f"layer conv1 is too large: it has 4,000,032,000,064 values for one image, {KERNELS}; "
        "make it or the layers below it smaller",
    ),
    (
        [{"linear": 30_000_000}],
        f"this network has 2,220,000,000 weights, 1,920,000,000 of them in layer linear1, {KERNELS}; "
        "use fewer channels or neurons",
    ),
    (
        ["P", "P", "P", "P"],
        "layer pool4 does not fit: its window of 2 x 2 is larger than its input, 1 x 1 (images are 8 x 8); "
        "leave out this layer or some below it, or use larger images",
    ),
]


@pytest.mark.parametrize(("model", "sentence"), LISTS, ids=lambda value: str(type(value)))
def test_lists(model: object, sentence: str) -> None:
    assert sentence_of(model) == sentence


def test_a_network_for_which_there_is_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    device = get_device("cpu")[0]
    monkeypatch.setattr(device, "free_bytes", lambda: 3 << 20)
    assert sentence_of([{"linear": 2048}, {"linear": 64}], device) == (
        "this network has 262,784 weights, 131,072 of them in layer linear1: they need 5 MiB on cpu, where 3 MiB are "
        "free; use fewer channels or neurons"
    )


# arguments of build → the sentence
ARGUMENTS = [
    ({"t_win": 1e-320}, "t_win must be a number from 1e-6 to 1e6, not 1e-320"),
    ({"t_win": "1"}, "t_win must be a number from 1e-6 to 1e6, not '1'"),
    ({"psp_slope": float("nan")}, "psp_slope must be a number from 0 to 1, not nan"),
    ({"grad_clip": 0}, "grad_clip must be a number from 1e-6 to 3.4e38, not 0"),
    ({"weight_std": 1e308}, "weight_std must be a number from 1e-6 to 1e6, not 1e+308"),
    ({"weight_mean": float("inf")}, "weight_mean must be a number from -1e6 to 1e6, not inf"),
    ({"weight_std": {"conv1": 0}}, "weight_std of layer 'conv1' must be a number from 1e-6 to 1e6, not 0"),
    (
        {"weight_std": {"conv2": 1}},
        "weight_std names layer 'conv2', but the layers with weights are conv1, readout",
    ),
    ({"weight_mean": {3: 1}}, "weight_mean names layer 3, but the layers with weights are conv1, readout"),
    (
        {"normalization": "weight", "weight_mean": {"conv1": 1}},
        "weight_mean has no effect with normalization weight but for the readout: leave it out, or name that layer "
        "alone, not {'conv1': 1.0}",
    ),
    ({"seed": -1}, "seed must be a whole number from 0, not -1"),
    ({"seed": 1.5}, "seed must be a whole number from 0, not 1.5"),
    ({"classes": 1}, "classes must be a whole number from 2 to 1000000, not 1"),
    ({"classes": True}, "classes must be a whole number from 2 to 1000000, not true"),
    ({"input_shape": 8}, "input_shape must be (channels, height, width), each from 1 to 1000000, not 8"),
    (
        {"input_shape": (0, 8, 8)},
        "input_shape must be (channels, height, width), each from 1 to 1000000, not (0, 8, 8)",
    ),
    ({"clip": "x"}, "clip must be one of gain, separate, none, not 'x'"),
    ({"clip": ["gain"]}, "clip must be one of gain, separate, none, not ['gain']"),
    ({"convolution": 3}, "convolution must be a name, or a mapping from layers to names, not 3"),
    ({"convolution": {"conv9": "gemm"}}, "convolution names layer 'conv9', but the convolutions are conv1"),
    ({"std": [0.0]}, "std must hold numbers above 0, not [0.0]"),
    ({"mean": [0.0, 1.0]}, "mean must hold one number for each of 1 channels, not [0.0, 1.0]"),
]


@pytest.mark.parametrize(("arguments", "sentence"), ARGUMENTS, ids=str)
def test_arguments_of_build(arguments: dict[str, object], sentence: str) -> None:
    usual = {"input_shape": (1, 8, 8), "classes": 10, "device": DEVICE}
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        models.build([4], **{**usual, **arguments})  # type: ignore[arg-type]


def sentence_of(model: object, device: str | Device = DEVICE) -> str:
    with pytest.raises(UserError) as caught:
        models.build(model, (1, 8, 8), 10, device)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("model", [memoryview(np.zeros((2, 3))), range(3, 5), b"ab", {3, 4}])
def test_what_only_resembles_a_list(model: Any) -> None:
    """Taken apart, a memoryview raised NotImplementedError."""
    with pytest.raises(UserError, match="must be a list of at least one layer"):
        read(model)


def test_short_numbers_of_numpy_count_as_far_as_any() -> None:
    """As uint8, the weights of a readout for 200 classes were counted modulo 256."""
    shape = (np.uint8(2), np.uint8(100), np.uint8(100))
    net = models.build([np.uint8(3), "P"], shape, np.uint8(200), DEVICE, seed=np.int8(1))
    assert net.state_dict()["readout.weight"].shape == (200, 3 * 50 * 50)
