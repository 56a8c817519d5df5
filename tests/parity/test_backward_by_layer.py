"""Each layer of VGG7 and VGG11 goes back as theirs does, given the same input and the same gradient of its output.

Backward through a whole network (test_networks.py) adds up what each layer rounds; here each is by itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from reference.comparison import host

from parity import comparison
from parity.checkouts import T2fsnn
from parity.figures import record
from parity.ours import build
from parity.precision import computing_in
from parity.test_networks import CLASSES, PIXELS, SHAPE, photographs
from parity.their_network import TheirNetwork
from ttfs_cupy.engine.layers import MaxPool

# Of a layer's largest gradient by its inputs. That of its weights has the suite's own bound.
BY_INPUTS = {"gemm": 1e-6, "auto": 2.5e-6}


@dataclass(frozen=True)
class Backward:
    """What one layer of ours was given and made: dLoss/d(output), pooled where it pools, dLoss/dx, and dLoss/dw."""

    given: np.ndarray
    by_inputs: np.ndarray | None
    by_weights: np.ndarray


def backwards_of(net: Any, encoded: Any, labels: np.ndarray) -> dict[str, Backward]:
    """Of each layer with weights, by name, in one backward pass."""
    found: dict[str, Backward] = {}

    def watched(layer: Any) -> Any:
        backward = layer.backward

        def watching(inputs: Any, grad: Any, out: Any, grad_inputs: Any, workspace: Any) -> None:
            given = host(grad).copy()
            backward(inputs, grad, out, grad_inputs, workspace)
            by_inputs = None if grad_inputs is None else host(grad_inputs).copy()
            found[layer.name] = Backward(given, by_inputs, layer.to_public(host(layer.grad_weights)).copy())

        return watching

    for layer in net.layers:
        if not isinstance(layer, MaxPool):
            layer.backward = watched(layer)
    net.loss_and_gradients(encoded, labels)
    return found


def in_their_order(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2))).double()


def theirs_of(
    network: TheirNetwork, trainer: Any, number: int, outputs: list[torch.Tensor], given: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """dLoss/dx and dLoss/dw of their layer for that gradient, after a forward pass."""
    gradient = in_their_order(given)
    if network.layers[number] is network.layers[-1]:
        by_inputs, by_weights = trainer._backward_fc_no_spk(number, outputs[number], gradient.flatten(1))
    else:
        if gradient.shape != outputs[number].shape:  # ours pools as its neurons fire
            gradient, _ = trainer._backward_maxpool(number + 1, outputs[number + 1], gradient)
        by_inputs, by_weights = trainer._backward_conv(number, outputs[number], gradient)
    return by_inputs.numpy(), by_weights.numpy()


@pytest.mark.parametrize("convolution", ["gemm", "auto"])
@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("model", ["vgg7", "vgg11"])
def test_each_layer_by_itself_goes_back_as_theirs(t2fsnn: T2fsnn, model: str, pixels: str, convolution: str) -> None:
    net = build(model, SHAPE, CLASSES, clip="separate", convolution=convolution, **PIXELS[pixels])
    theirs = TheirNetwork(t2fsnn, model, SHAPE, CLASSES, list(net.state_dict().values()), dtype=torch.float64)
    encoded = net.encode(photographs(3))
    ours = backwards_of(net, encoded, np.arange(3, dtype=np.int32))
    _, outputs, _ = comparison.layer_by_layer(net, theirs, encoded)
    trainer = theirs.trainer(use_adam=False)
    weights, inputs = {}, {}
    with computing_in(torch.float64), torch.no_grad():
        for number, layer in enumerate(net.layers):
            if layer.name not in ours:
                continue
            mine = ours[layer.name]
            by_inputs, by_weights = theirs_of(theirs, trainer, number, outputs, mine.given)
            weights[layer.name] = comparison.of_largest(mine.by_weights, by_weights)
            if mine.by_inputs is not None:
                # theirs leaves the mask to the layer below
                fired = theirs.layers[number].train_cache["in_spk_mask"].numpy().reshape(by_inputs.shape)
                of_fired = in_their_order(mine.by_inputs).numpy().reshape(by_inputs.shape)[fired]
                inputs[layer.name] = comparison.of_largest(of_fired, by_inputs[fired])
    about = f"{model}, {pixels} pixels, {convolution}, each layer by itself"
    record(about, gradients_by_weights=max(weights.values()), gradients_by_inputs=max(inputs.values()))
    assert set(weights) == {layer.name for layer in net.layers if not isinstance(layer, MaxPool)}
    assert max(weights.values()) <= comparison.GRADIENTS, weights
    assert max(inputs.values()) <= BY_INPUTS[convolution], inputs
