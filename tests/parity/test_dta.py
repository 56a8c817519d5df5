"""Wei et al.'s DTA-TTFS beside the direct code and `clip: none`, which here are its coding layer and its gradients."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference.comparison import host, outputs_of, relative_error

from parity import comparison
from parity.checkouts import DtaTtfs
from parity.comparison import flat, times_of
from parity.figures import record
from parity.ours import build
from parity.precision import computing_in
from ttfs_cupy import Adam, Limits, Network
from ttfs_cupy.exchange import pytorch_file
from ttfs_cupy.exchange.begin import take_weights

Array = np.ndarray
SHAPE, CLASSES = (3, 32, 32), 10
STATISTICS = {"mean": np.array([0.4914, 0.4822, 0.4465]), "std": np.array([0.2023, 0.1994, 0.2010])}
SMALL = [16, "P", 32, 32, "P", {"linear": 64}, {"linear": 48}]
BATCH = 6
LR, STEPS = 1e-4, 5


@pytest.fixture
def small(dta: DtaTtfs) -> Iterator[str]:
    """The name of a small network, in the tables that their class reads."""
    tables = dta.spiking.cfg_conv, dta.spiking.cfg_fc
    for table, layers in zip(tables, ([16, "M", 32, 32, "M"], [32 * 8 * 8, 64, 48, CLASSES]), strict=True):
        table["small"] = layers
    yield "small"
    for table in tables:
        del table["small"]


class TheirModel:
    """SpikeVGG with the weights of our network, of the same layers."""

    def __init__(self, dta: DtaTtfs, name: str, net: Network, dtype: torch.dtype = torch.float64):
        self.dtype = dtype
        with computing_in(dtype), torch.no_grad():
            self.model = dta.spiking.SpikeVGG(name).to(dtype)
            for weight, given in zip(self.weights, net.state_dict().values(), strict=True):
                weight.copy_(torch.from_numpy(given))

    @property
    def weights(self) -> list[Any]:
        """From the input on; their class names the full connections first."""
        return [*self.model.conv.parameters(), *self.model.fc.parameters()]

    def stages(self) -> Iterator[tuple[Any, Any]]:
        """Each weighted layer with what its neurons do, and each pooling with None."""
        for modules, signs in (
            (self.model.conv, self.model.save_sign_conv),
            (self.model.fc, self.model.save_sign_fc),
        ):
            for number, sign in enumerate(signs):
                if sign == "pre_activation":
                    yield modules[number], modules[number + 1]
                elif sign != "activation":
                    yield modules[number], None

    @torch.no_grad()
    def layer_by_layer(self, net: Network, encoded: Any) -> tuple[list[comparison.LayerComparison], float]:
        """Each of their layers, given what ours got; the potentials' deviation."""
        found, potentials = [], 0.0
        given = torch.from_numpy(host(encoded).transpose(0, 3, 1, 2).copy()).to(self.dtype)
        outputs = outputs_of(net)
        with computing_in(self.dtype):
            for number, (layer, output, stage) in enumerate(zip(net.layers, outputs, self.stages(), strict=True)):
                module, neurons = stage
                # they write into their inputs
                given = given.clone() if number == 0 or given.dim() == output.ndim else given.flatten(1)
                if layer.has_weights and neurons is None:
                    potentials = comparison.of_largest(output, module(given).numpy())
                elif not layer.has_weights:
                    np.testing.assert_array_equal(times_of(output), (-module(-given)).numpy(), err_msg=layer.name)
                elif number == 0:
                    x = neurons(module(given)[0]).numpy()
                    error = float(np.abs(x - output).max())
                    assert ((x != 0) == (output != 0)).all()
                    found.append(
                        comparison.LayerComparison(layer.name, error, error / comparison.TIMES, 0, 0.0, 0, x.size)
                    )
                else:
                    times, weighted, weight_sum = (value.clone() for value in module(given))
                    answer = neurons(times, weighted, weight_sum).numpy()
                    drive, sums = (weight_sum - weighted).numpy(), weight_sum.numpy()
                    found.append(comparison.compared(layer.name, times_of(output), answer, drive, sums, 1.0))
                given = torch.from_numpy(times_of(output)).to(self.dtype)
        return found, potentials

    def gradients(self, encoded: Array, labels: Array) -> tuple[float, list[Array]]:
        with computing_in(self.dtype):
            self.model.zero_grad()
            images = torch.from_numpy(encoded.transpose(0, 3, 1, 2).copy()).to(self.dtype)
            loss = torch.nn.functional.cross_entropy(self.model(images), torch.from_numpy(labels).long())
            loss.backward()
        return float(loss.detach()), [weight.grad.numpy() for weight in self.weights]


def network(model: Any, **options: Any) -> Network:
    return build(model, SHAPE, CLASSES, encoding="direct", clip="none", **STATISTICS, **options)


def batch() -> tuple[Array, Array]:
    draw = np.random.default_rng(8)
    return draw.random((BATCH, *SHAPE), np.float32), np.arange(BATCH, dtype=np.int32)


@pytest.mark.parametrize("name", ["VGG11", "VGG16"])
def test_every_layer_is_theirs(dta: DtaTtfs, name: str) -> None:
    net = network(f"wei_{name.lower()}", convolution="gemm")
    images, _ = batch()
    encoded = net.encode(images[:2])
    net.forward(encoded)
    if name == "VGG16":
        # theirs has the classes of CIFAR-100
        dta.spiking.cfg_fc[name][-1] = CLASSES
    found, potentials = TheirModel(dta, name, net).layer_by_layer(net, encoded)
    comparison.check_layers(f"DTA-TTFS, {name}", found, potentials)


def test_gradients_are_theirs(dta: DtaTtfs, small: str) -> None:
    """Whole networks, since autograd has to go through theirs: so no neuron may flip."""
    net = network(SMALL, convolution="gemm")
    images, labels = batch()
    encoded = net.encode(images)
    loss, gradients = net.loss_and_gradients(encoded, labels)
    theirs = TheirModel(dta, small, net)
    found, _ = theirs.layer_by_layer(net, encoded)
    assert not sum(one.flips + one.at_end for one in found), "a neuron flips: choose another seed"
    their_loss, wanted = theirs.gradients(host(encoded), labels)
    errors = comparison.gradient_errors(gradients, wanted)
    record("DTA-TTFS, gradients of a small network", gradients=max(errors.values()), loss=abs(loss - their_loss))
    assert abs(loss - their_loss) <= 1e-5 * their_loss
    assert max(errors.values()) <= comparison.GRADIENTS


def test_adamw_steps_are_as_close_to_float64_as_theirs(dta: DtaTtfs, small: str) -> None:
    """torch.optim.AdamW decays before its step, and this engine after it: they differ by lr² times the decay.

    Adam divides a gradient by its size. So where a gradient is nothing but rounding, so is the step: these weights are
    counted, and not compared.
    """
    net = network(SMALL, convolution="gemm")
    sides = {dtype: TheirModel(dta, small, net, dtype) for dtype in (torch.float64, torch.float32)}
    theirs = {dtype: torch.optim.AdamW(side.weights, lr=LR) for dtype, side in sides.items()}
    optimizer = Adam(net.device, net.parameters, lr=LR, limits=Limits(weight_decay=0.01))
    images, labels = batch()
    encoded = net.encode(images)
    undecided: Array = np.zeros(sum(weight.size for weight in net.state_dict().values()), bool)
    for _ in range(STEPS):
        net.train_step(encoded, net.device.to_device(labels), optimizer)
        for dtype, side in sides.items():
            _, gradients = side.gradients(host(encoded), labels)
            theirs[dtype].step()
            if dtype == torch.float64:
                undecided |= np.concatenate([only_rounding(gradient).ravel() for gradient in gradients])
    exact, in_float32 = (flat(weight.detach().numpy() for weight in side.weights) for side in sides.values())
    ours = flat(net.state_dict().values())
    mine, their_own = (relative_error(side[~undecided], exact[~undecided]) for side in (ours, in_float32))
    record(
        "DTA-TTFS, weights from float64 after 5 steps of AdamW",
        ours=mine,
        theirs_in_float32=their_own,
        gradients_only_rounding=int(undecided.sum()),
    )
    assert mine <= 1.15 * their_own
    assert undecided.mean() < 1e-3
    # a step of Adam's is of about one learning rate at most
    assert np.abs(ours - exact)[undecided].max(initial=0.0) <= 2 * STEPS * LR


def only_rounding(gradient: Array) -> Array:
    """Of weights: smaller than what their layer's largest is rounded by, but not 0."""
    size = np.abs(gradient)
    return (size > 0) & (size < comparison.GRADIENTS * size.max())


def test_their_weights_begin_a_run_here(dta: DtaTtfs, small: str, tmp_path: Path) -> None:
    """Of a state_dict as mainFile.py saves it, its convolutions put first (docs/dta_ttfs.md)."""
    net = network(SMALL)
    theirs = TheirModel(dta, small, network(SMALL, seed=1), torch.float32)
    state = theirs.model.state_dict()
    file = tmp_path / "weights.pt"
    torch.save({name: state[name] for name in sorted(state, key=lambda name: name.startswith("fc"))}, file)
    take_weights(net, pytorch_file.read(file))
    for mine, their_own in zip(net.state_dict().values(), theirs.weights, strict=True):
        np.testing.assert_array_equal(mine, their_own.detach().numpy())


def test_the_proxy_has_the_same_neurons_in_earliness(dta: DtaTtfs) -> None:
    """As the engine has: a layer of the proxy between its first, which reads pixels, and its readout, which is A alone
    (docs/model.md), given what a layer below would put out."""
    net = build([64], (32, 8, 8), CLASSES, convolution="gemm")
    draw = np.random.default_rng(9)
    x = np.where(draw.random((8, 32, 8, 8)) < 0.4, 0, draw.random((8, 32, 8, 8))).astype(np.float32)
    net.forward(net.encode(x))
    ours = outputs_of(net)[0]
    with computing_in(torch.float64), torch.no_grad():
        block, neurons = dta.proxy.CNNblock(32, 64, kernel_size=3, padding=1).double(), dta.proxy.SNNactivation()
        block.cnn.weight.copy_(torch.from_numpy(net.state_dict()["conv1.weight"]))
        output, drive, weight_sum = block(torch.from_numpy(x.astype(np.float64)))
        answer = neurons(output.clone(), drive, weight_sum).numpy()
    found = comparison.compared("conv1", times_of(ours), times_of(answer), drive.numpy(), weight_sum.numpy(), 1.0)
    record("DTA-TTFS, a layer of the proxy", spike_times=found.time_error, flips=found.flips, neurons=found.neurons)
    assert 0.1 < (ours != 0).mean() < 0.9
    found.check()
