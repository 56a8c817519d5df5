"""The study of precision: what an algorithm makes of rounded operands, and the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import commands

from ttfs_cupy import models
from ttfs_cupy.benchmarks.precision import __main__ as precision
from ttfs_cupy.benchmarks.precision import rounded
from ttfs_cupy.benchmarks.precision.evaluation import sums_of_a_layer
from ttfs_cupy.benchmarks.precision.rounded import Rounded, Switch, Variant
from ttfs_cupy.benchmarks.precision.rounding import FORMATS, WEIGHT_UNIT, Format
from ttfs_cupy.convolution.choice import algorithms_named
from ttfs_cupy.convolution.shape import Activations, ConvolutionShape, OutgoingGradient
from ttfs_cupy.device.cpu import CpuDevice
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam
from ttfs_cupy.neuron import PspSlope, SpikingNeuron

DEVICE = "cpu"  # operands are rounded by NumPy

UNROUNDED = Format("unrounded", lambda values, out: np.copyto(out, values))


# What an algorithm makes of rounded operands

SHAPE = ConvolutionShape((9, 6), 5, 7, (3, 3), (1, 1), (1, 1))
BATCH = 4


class Layer:
    """A convolution of random spikes, its gradients known to NumPy."""

    def __init__(self, algorithm: str, psp_slope: float = 1.0):
        generator = np.random.default_rng(3)
        self.device = CpuDevice()
        self.algorithm = algorithms_named(algorithm, self.device, SHAPE, "conv1").forward
        self.neuron = SpikingNeuron(self.device, 1.0, PspSlope(self.device, psp_slope))
        self.images = generator.random((BATCH, *SHAPE.in_size, 5), np.float32)
        self.images[self.images < 0.3] = 0
        self.weights = (0.1 * generator.standard_normal((3, 3, 5, 7))).astype(np.float32)
        self.grad = generator.standard_normal((BATCH, *SHAPE.out_size, 7), np.float32)
        self.out = self.forward(self.algorithm, self.images, self.weights)

    def forward(self, algorithm: Any, images: np.ndarray, weights: np.ndarray) -> Activations:
        shape = (BATCH, *SHAPE.out_size, 7)
        out = Activations(np.empty(shape, np.float32), np.empty(shape, np.float32))
        algorithm.forward(images, weights, self.neuron, out, self.workspace("forward"))
        return out

    def workspace(self, which: Any) -> np.ndarray:
        return np.empty(self.algorithm.workspace(BATCH, which), np.float32)

    def gradients(self, algorithm: Any) -> tuple[np.ndarray, np.ndarray]:
        """Of the images and of the weights."""
        outgoing = OutgoingGradient(self.neuron, self.grad, self.out)
        grad_images, grad_weights = np.empty_like(self.images), np.empty_like(self.weights)
        algorithm.data_gradient(outgoing, self.weights, grad_images, self.workspace("data_gradient"))
        algorithm.weight_gradient(self.images, outgoing, grad_weights, self.workspace("weight_gradient"))
        return grad_images, grad_weights

    def expected(self, numbers: Format) -> tuple[np.ndarray, np.ndarray]:
        """The same in float64, of rounded operands."""

        def short(values: np.ndarray, unit: float = 1.0) -> np.ndarray:
            out = np.empty(values.shape, np.float32)
            numbers.round(np.ascontiguousarray(values, np.float32), out, unit)
            return out.astype(np.float64)

        to_drive, to_sum = np.empty_like(self.grad), np.empty_like(self.grad)
        self.neuron.gradient(self.grad, self.out.output, self.out.weight_sum, to_drive, to_sum)
        grad_images, grad_weights = np.zeros(self.images.shape), np.zeros(self.weights.shape)
        padded = [np.pad(part, ((0, 0), (1, 1), (1, 1), (0, 0))) for part in (short(self.images), self.images != 0)]
        padded_grad = np.pad(short(to_drive), ((0, 0), (1, 1), (1, 1), (0, 0)))
        height, width = SHAPE.in_size
        for y, x in np.ndindex(3, 3):
            seen = [part[:, y : y + height, x : x + width].astype(np.float64) for part in padded]
            grad_weights[y, x] = sum(
                np.einsum("bhwi,bhwo->io", part, short(grad))
                for part, grad in zip(seen, (to_drive, to_sum), strict=True)
            )
            gradient = padded_grad[:, 2 - y : 2 - y + height, 2 - x : 2 - x + width]
            grad_images += np.einsum("bhwo,io->bhwi", gradient, short(self.weights, WEIGHT_UNIT)[y, x])
        return grad_images, grad_weights


@pytest.mark.parametrize("algorithm", ["gemm", "winograd", "direct"])
@pytest.mark.parametrize("name", ["tf32", "bf16x2"])
def test_gradients_of_rounded_operands(algorithm: str, name: str) -> None:
    layer = Layer(algorithm)
    found = layer.gradients(Rounded(layer.algorithm, FORMATS[name], layer.device))
    for actual, expected, plain in zip(
        found, layer.expected(FORMATS[name]), layer.gradients(layer.algorithm), strict=True
    ):
        size = np.linalg.norm(expected)
        assert np.linalg.norm(actual - expected) < 1e-6 * size
        # and it is the rounding that is seen
        assert np.linalg.norm(plain - expected) > 2e-6 * size


@pytest.mark.parametrize("algorithm", ["gemm", "winograd", "direct"])
@pytest.mark.parametrize("name", FORMATS)
def test_forward_is_that_of_rounded_operands(algorithm: str, name: str) -> None:
    layer, numbers = Layer(algorithm), FORMATS[name]
    layer.images[0, 0, 0, 0] = 1e-9
    images, weights = np.empty_like(layer.images), np.empty_like(layer.weights)
    numbers.round_earliness(layer.images, images, 256.0)
    numbers.round(layer.weights, weights, 256.0)
    expected = layer.forward(layer.algorithm, images, weights)
    out = layer.forward(Rounded(layer.algorithm, numbers, layer.device), layer.images, layer.weights)
    np.testing.assert_array_equal(out.output, expected.output)
    np.testing.assert_array_equal(out.weight_sum, expected.weight_sum)


NET = [6, "P", 8, {"convolution": 9, "kernel": 2, "stride": 2}]


def network(convolution: str, psp_slope: float, readout: str = "potential") -> Network:
    return models.build(
        NET, (1, 12, 10), 5, DEVICE, psp_slope=psp_slope, convolution=convolution, readout=readout, t_win=1.5
    )


def batch() -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(4).random((7, 1, 12, 10), np.float32)
    images[images < 0.3] = 0
    return images, np.arange(7) % 5


@pytest.mark.parametrize("readout", ["potential", "spike_times"])
@pytest.mark.parametrize("psp_slope", [0.0, 1.0])
def test_operands_left_as_they_are_change_nothing(
    monkeypatch: pytest.MonkeyPatch, psp_slope: float, readout: str
) -> None:
    """Pooling joined to winograd included."""
    monkeypatch.setitem(FORMATS, UNROUNDED.name, UNROUNDED)
    net = network("auto", psp_slope, readout)
    for layer in net.layers[:3:2]:
        layer.algorithms = algorithms_named("winograd", net.device, layer.shape, layer.name)  # type: ignore[attr-defined]
    images, labels = batch()
    encoded = net.encode(images)
    loss, gradients = net.loss_and_gradients(encoded, labels)
    Switch(net).to(Variant(UNROUNDED.name, UNROUNDED.name))
    again, unrounded = net.loss_and_gradients(encoded, labels)
    assert again == loss
    for name, gradient in gradients.items():
        # with a mask, sums are taken in another order
        error = np.linalg.norm(unrounded[name] - gradient)
        assert error <= (1e-6 * np.linalg.norm(gradient) if psp_slope else 0)


def test_float32_is_the_plain_engine() -> None:
    """Bit for bit, also after other formats were at work."""
    images, labels = batch()

    def trained(*variants: Variant) -> dict[str, np.ndarray]:
        net = network("auto", 1.0)
        switch, encoded = Switch(net), net.encode(images)
        for variant in variants:
            switch.to(variant)
            net.loss_and_gradients(encoded, labels)
        optimizer = Adam(net.device, net.parameters, 1e-2)
        for _ in range(3):
            net.train_step(encoded, labels.astype(np.int32), optimizer)
        return net.state_dict()

    plain = trained()
    for state in (
        trained(Variant("float32", "float32")),
        trained(Variant("split", "tf32"), Variant("float32", "float32")),
    ):
        for name, weights in plain.items():
            np.testing.assert_array_equal(weights, state[name])
    assert any((plain[name] != weights).any() for name, weights in trained(Variant("float32", "tf32")).items())


def test_what_the_products_left_out_amount_to() -> None:
    net = network("gemm", 1.0)
    sums = {row.operands: row for row in sums_of_a_layer(net, net.encode(batch()[0]))}
    exact, short = sums["split"], sums["split, without the smallest products"]
    assert exact.drive < short.drive < 1e-7
    assert sums["bf16x3"].drive < 1e-15
    assert sums["bf16x2"].drive < 1e-5 < sums["tf32"].drive < 1e-3
    assert exact.neurons == sums["tf32"].neurons == 7 * 6 * 5 * 8  # of conv2, whose neurons have most inputs


# The command


def options(folder: Path, *more: str) -> list[str]:
    changes = {**commands.SMALL, "training.epochs": "1"}
    settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    return [
        "--config",
        "quickstart",
        *settings,
        "--runs",
        str(folder / "runs"),
        "--json",
        str(folder / "n.json"),
        *more,
    ]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    try:
        code = precision.main(arguments)
    except SystemExit as ended:  # argparse's way
        assert isinstance(ended.code, int)
        code = ended.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    chosen = ["--seeds", "3", "--forward", "float32", "tf32", "--backward", "float32", "--evaluate", "split", "bf16x2"]
    code, out, err = run(capsys, *options(tmp_path, *chosen))
    assert (code, err) == (0, "")
    assert [line.split(" | ")[0] for line in out.splitlines() if line.startswith("| ")][2:4] == [
        "| float32/float32",
        "| tf32/float32",
    ]
    numbers = json.loads((tmp_path / "n.json").read_text())
    assert [(row["variant"], row["seed"]) for row in numbers["trained"]] == [
        ("float32/float32", 3),
        ("tf32/float32", 3),
    ]
    exact, short = numbers["trained"]
    assert exact["own"] == exact["float32"]
    assert (exact["own"]["changed"], sum(exact["own"]["flips"].values())) == (0, 0)
    assert sum(short["own"]["flips"].values()) > 0
    assert [row["forward"] for row in numbers["evaluated"]] == ["split", "bf16x2"]
    assert len(numbers["sums"]) == 9
    assert {row["operands"]: row["exact"] for row in numbers["numbers"]}["bf16x3"] == 1

    # the same bits as the plain command's
    plain = commands.run_small(tmp_path / "plain", training__epochs=1, seed=3, tune=False, device=DEVICE)
    own = tmp_path / "runs" / "quickstart-float32-float32-seed-3"
    weights = commands.weights(own)
    for name, array in commands.weights(plain).items():
        np.testing.assert_array_equal(weights[name], array)
    assert commands.metrics(plain)[-1]["test_accuracy"] == exact["own"]["correct"] / exact["own"]["images"]

    # what is there is not trained again
    before = (own / "last.safetensors").stat().st_mtime_ns
    code, _, err = run(capsys, *options(tmp_path, *chosen))
    assert (code, err) == (0, "")
    assert json.loads((tmp_path / "n.json").read_text())["trained"] == numbers["trained"]
    assert (own / "last.safetensors").stat().st_mtime_ns == before

    code, _, err = run(capsys, *options(tmp_path, *chosen, "--set", "optimizer.lr=0.1"))
    assert code == 2
    assert err == f"error: the run in '{own}' has another config: name another folder with --runs\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--forward", "float8"], "float8"),
        (["--backward", "split"], "split"),
        (["--json", "no/such/folder.json"], "there is no folder no/such"),
        (["--config", "no_such"], "no_such"),
    ],
)
def test_a_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, _, err = run(capsys, "--runs", str(tmp_path / "runs"), *arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_every_format_can_be_asked_for() -> None:
    assert set(precision.FORWARD) == {"float32", *FORMATS}
    assert set(precision.BACKWARD) == {"float32", "tf32", "bf16x2", "bf16x3"}
    assert str(rounded.Variant("split", "tf32")) == "split/tf32"
