"""Initial potentials (docs/model.md): A is larger by T b in every rule, by every algorithm, and b is trained."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import small_network
from helpers.numbers import SLOPE_AND_CLIP, by_every_algorithm, check, check_central_differences, give_potentials
from reference import comparison
from reference.comparison import DEVICE
from reference.specification import random_images, read

from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.engine.layers import Weighted
from ttfs_cupy.engine.optimizer import Adam, Limits, Sgd


@pytest.mark.parametrize("t_win", [0.5, 3.0])
@pytest.mark.parametrize(("slope", "clip"), SLOPE_AND_CLIP)
@pytest.mark.parametrize("readout", ["potential", "spike_times"])
def test_every_algorithm_agrees_with_float64(t_win: float, slope: float, clip: str, readout: str) -> None:
    rule: dict[str, Any] = {"t_win": t_win, "psp_slope": slope, "clip": clip, "readout": readout}
    check([9, "P", 20, 17, {"linear": 12}], (3, 9, 10), initial_potential=True, **rule)


@pytest.mark.parametrize("t_win", [0.5, 1.0, 3.0])
def test_direct_encoding_scales_the_drive_but_not_the_potential(t_win: float) -> None:
    spec, shape = [9, "P", 10, {"linear": 8}], (3, 8, 10)
    mean, std = np.array([0.3, 0.4, 0.5], np.float32), np.array([0.2, 0.3, 0.4], np.float32)
    rule: dict[str, Any] = {"t_win": t_win, "encoding": "direct"}
    images = random_images(4, shape, seed=0)
    for net in by_every_algorithm(spec, shape, mean=mean, std=std, initial_potential=True, **rule):
        give_potentials(net, seed=3)
        comparison.check(net, read(spec, 5), images, np.arange(4), **rule)


@pytest.mark.parametrize(("count", "size"), [(3, (40, 37)), (700, (2, 2))])
def test_sums_over_many_parts(count: int, size: tuple[int, int]) -> None:
    check([37, "P"], (3, *size), count, initial_potential=True)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("readout", ["potential", "spike_times"])
@pytest.mark.parametrize("t_win", [1.0, 3.0])
def test_central_differences(slope: float, readout: str, t_win: float) -> None:
    """Of potentials so small that no neuron flips which would not without them."""
    spec, shape = [4, "P", {"linear": 6}], (2, 6, 6)
    rule: dict[str, Any] = {"psp_slope": slope, "clip": "none", "readout": readout, "t_win": t_win}
    net = models.build(spec, input_shape=shape, classes=3, device=DEVICE, initial_potential=True, **rule)
    give_potentials(net, seed=4, spread=0.001)
    check_central_differences(net, net.encode(random_images(4, shape, seed=38)), np.array([0, 1, 2, 0]))


def test_a_charged_neuron_fires_without_input() -> None:
    """On a black image x = T b where 0 < b < 1, and a pool takes the earliest of equals: the first."""
    for net in by_every_algorithm([20, 20, "P"], (2, 12, 12), initial_potential=True, t_win=2.0, psp_slope=0.5):
        state = {name: np.zeros_like(values) for name, values in net.state_dict().items()}
        state["conv1.potential"] = np.linspace(-0.5, 1.5, 20, dtype=np.float32)
        net.load_state_dict(state)
        net.forward(net.encode(np.zeros((3, 2, 12, 12), np.float32)))
        first, second, pooled, readout = comparison.outputs_of(net)
        expected = np.clip(2 * np.linspace(-0.5, 1.5, 20), 0, 2)
        np.testing.assert_allclose(first, np.broadcast_to(expected[:, None, None], first.shape), rtol=1e-6, atol=1e-7)
        assert not second.any() and not pooled.any() and not readout.any()


def test_without_it_nothing_is_there() -> None:
    net = small_network.build()
    assert {name: values.shape for name, values in net.state_dict().items()} == small_network.SHAPES
    assert all(layer.potential is None for layer in net.parameters._layers) and not net.parameters.has_potentials
    assert net.parameters.decayed == net.parameters.size


def test_they_begin_at_0_with_the_same_weights() -> None:
    plain, charged = (small_network.build(seed=3, initial_potential=on) for on in (False, True))
    state, images = charged.state_dict(), small_network.images(5)
    names = [f"{layer}.{kind}" for layer in ("conv1", "linear1", "readout") for kind in ("weight", "potential")]
    assert list(state) == names == list(charged.loss_and_gradients(charged.encode(images), np.arange(5) % 4)[1])
    for name, values in plain.state_dict().items():
        assert values.tobytes() == state[name].tobytes()
        assert not state[name.replace("weight", "potential")].any()
    outputs = [comparison.host(net.forward(net.encode(images))) for net in (plain, charged)]
    np.testing.assert_allclose(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    # 5 + 6 + 4 neurons
    assert [net.summary().count(f" {474 + more} ") for net, more in ((plain, 0), (charged, 15))] == [1, 1]


@pytest.mark.parametrize("normalization", ["none", "weight"])
@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_they_are_trained_but_neither_decay_nor_have_limits(normalization: str, kind: type[Adam] | type[Sgd]) -> None:
    net = small_network.build(initial_potential=True, normalization=normalization)
    give_potentials(net, seed=1, spread=3.0)
    before, parameters = net.state_dict(), net.parameters
    bounds = {} if normalization == "weight" else {"weight_clip": (-0.1, 0.1), "fixed_sign": True}
    optimizer = kind(net.device, parameters, 0.1, limits=Limits(weight_decay=0.5, **bounds))
    parameters.gradients[...] = 0
    optimizer.step()
    for name, values in net.state_dict().items():
        # of standardised weights the raw ones decay
        if name.endswith("potential") or normalization == "none":
            assert (values.tobytes() == before[name].tobytes()) == name.endswith("potential"), name
    parameters.gradients[parameters.decayed :] = 1
    optimizer.step()
    after = net.state_dict()
    assert all((after[name] < before[name]).all() for name in before if name.endswith("potential"))


@pytest.mark.parametrize("normalization", ["none", "weight"])
def test_saved_and_loaded(normalization: str) -> None:
    rule: dict[str, Any] = {"initial_potential": True, "normalization": normalization}
    net, other = small_network.build(seed=1, **rule), small_network.build(seed=2, **rule)
    labels = net.device.to_device(np.arange(5, dtype=np.int32) % 4)
    net.train_step(net.encode(small_network.images(5)), labels, Adam(net.device, net.parameters))
    assert any(values.any() for name, values in net.state_dict().items() if name.endswith("potential"))
    other.parameters.load_trained(net.parameters.trained_dict())
    for one in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        states = [{name: values.tobytes() for name, values in each.state_dict().items()} for each in (net, one)]
        assert states[0] == states[1]
        one.parameters.values[...] += 1
        layer = one.layers[0]
        assert isinstance(layer, Weighted) and layer.potential is not None
        np.testing.assert_array_equal(comparison.host(layer.potential), one.state_dict()["conv1.potential"])
        assert net.state_dict()["conv1.potential"].tobytes() == states[0]["conv1.potential"]
    with pytest.raises(ValueError, match=r"weights 'conv1.potential' are missing"):
        net.load_state_dict(small_network.build().state_dict())
    with pytest.raises(ValueError, match=r"weights 'conv1.potential' are not in this network"):
        small_network.build().load_state_dict(net.state_dict())


def test_what_is_no_flag_is_refused() -> None:
    with pytest.raises(UserError, match="initial_potential must be true or false, not 1"):
        small_network.build(initial_potential=1)
