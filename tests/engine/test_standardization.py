"""Standardised weights (docs/model.md): what they are, what is trained, what is saved, and who gets to see which."""

import copy
import pickle
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import pytest
from emulator import why_not
from emulator.device import EmulatedGpu
from helpers import small_network
from hypothesis import given
from hypothesis import strategies as st
from reference import earliness
from reference.comparison import DEVICE, host, relative_error
from reference.specification import read

from ttfs_cupy import models
from ttfs_cupy.check.kernels.references import standardization as reference
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import CpuDevice
from ttfs_cupy.device import standardization as kernels
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam, Limits, Optimizer, Sgd

SPIKING = ("conv1", "linear1")


def network(seed: int = 0, device: Any = DEVICE, **rule: Any) -> Network:
    """Of raw weights and gains that are no longer those it was drawn with."""
    net = models.build(
        small_network.SPEC, small_network.SHAPE, small_network.CLASSES, device, seed, normalization="weight", **rule
    )
    random, trained = np.random.default_rng(seed), net.parameters.trained_dict()
    for name in SPIKING:
        trained[f"{name}.v"] += random.normal(0, 0.2, trained[f"{name}.v"].shape).astype(np.float32)
        trained[f"{name}.g"] *= random.uniform(0.5, 1.5, trained[f"{name}.g"].shape).astype(np.float32)
    net.parameters.load_trained(trained)
    return net


def batch(net: Network, count: int = 5) -> tuple[Any, np.ndarray]:
    labels = np.arange(count, dtype=np.int32) % small_network.CLASSES
    return net.encode(small_network.images(count)), labels


def weights_of(trained: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What follows from what is trained, float64, in the public shapes."""
    found = {"readout.weight": trained["readout.weight"].astype(np.float64)}
    for name in SPIKING:
        raw = trained[f"{name}.v"].astype(np.float64)
        columns, _, _ = reference.standardized(raw.reshape(len(raw), -1).T, trained[f"{name}.g"].astype(np.float64))
        found[f"{name}.weight"] = columns.T.reshape(raw.shape)
    return found


def trained_gradients(net: Network) -> dict[str, np.ndarray]:
    """dLoss/d(trained), named like trained_dict(), after a batch."""
    parameters = net.parameters
    parameters.to_trained_gradients()
    before = parameters.trained.copy()
    parameters.trained[...] = parameters.trained_gradients
    found = parameters.trained_dict()
    parameters.trained[...] = before
    return found


# What they are


def test_each_neurons_weights_sum_to_zero_and_have_the_norm_of_its_gain() -> None:
    net = network()
    trained, weights = net.parameters.trained_dict(), net.state_dict()
    assert set(trained) == {"conv1.v", "conv1.g", "linear1.v", "linear1.g", "readout.weight"}
    for name in SPIKING:
        rows = weights[f"{name}.weight"].reshape(len(trained[f"{name}.g"]), -1).astype(np.float64)
        assert np.abs(rows.sum(axis=1)).max() < 1e-5
        assert np.allclose(np.linalg.norm(rows, axis=1), trained[f"{name}.g"], rtol=1e-3)
    assert weights["readout.weight"].tobytes() == trained["readout.weight"].tobytes()
    for name, expected in weights_of(trained).items():
        assert relative_error(weights[name], expected) < 1e-6


def test_raw_weights_are_those_that_the_seed_draws_and_gains_begin_at_root_2() -> None:
    plain, standardized = small_network.build(seed=3), small_network.build(seed=3, normalization="weight")
    drawn, trained = plain.state_dict(), standardized.parameters.trained_dict()
    for name in SPIKING:
        assert trained[f"{name}.v"].tobytes() == drawn[f"{name}.weight"].tobytes()
        assert (trained[f"{name}.g"] == np.float32(np.sqrt(2))).all()
    assert trained["readout.weight"].tobytes() == drawn["readout.weight"].tobytes()


def test_a_readout_that_fires_is_not_standardised() -> None:
    net = network(readout="spike_times")
    assert net.layers[-1].is_spiking
    assert "readout.weight" in net.parameters.trained_dict()


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 200), st.booleans()), min_size=1, max_size=6),
    st.sampled_from([kernels.CPU_COLUMNS, kernels.NARROW_COLUMNS, kernels.GPU_COLUMNS]),
)
def test_strips_have_each_weight_and_gain_once(layers: list[tuple[int, int, bool]], columns: int) -> None:
    matrices, first, gains = [], 0, 0
    for inputs, neurons, own in layers:
        matrices.append(kernels.WeightMatrix(first, inputs, neurons, gains if own else None))
        first, gains = first + inputs * neurons, gains + neurons * own
    seen, seen_gains = np.zeros(first, int), np.zeros(gains, int)
    for start, step, rows, width, gain in kernels.strips(matrices, columns):
        assert 1 <= width <= columns
        for row in range(rows):
            seen[start + row * step : start + row * step + width] += 1
        if gain >= 0:
            seen_gains[gain : gain + width] += 1
    assert (seen == 1).all()
    assert (seen_gains == 1).all()


# two threads read so much faster in wide strips that unequal shares are worth it
@pytest.mark.parametrize(
    ("model", "threads", "bound"),
    [("vgg11", 2, 1.25), ("vgg11", 3, 1.25), ("vgg11", 8, 1.3), ("vgg7", 2, 1.35), ("vgg7", 3, 1.25)],
)
def test_equal_shares_of_the_strips_are_about_equal_work(
    model: str, threads: int, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = models.build(model, device="cpu", convolution="gemm")
    layers = [layer.shape for layer in net.layers if layer.has_weights]
    matrices = [kernels.WeightMatrix(0, shape.patch_size, shape.out_channels, 0) for shape in layers]
    device = CpuDevice()
    monkeypatch.setattr(device, "workers", threads)
    found = kernels.strips(matrices, kernels.columns_of(device))
    # as share_start in kernels/cpu.h cuts them
    ends = [len(found) * share // threads for share in range(threads + 1)]
    work = [int(part[:, 2] @ part[:, 3]) for part in np.split(found.astype(np.int64), ends[1:-1])]
    assert max(work) < bound * np.mean(work)


def test_the_kernel_has_room_for_the_widest_strip() -> None:
    text = resources.files("ttfs_cupy.kernels").joinpath("standardization.cpp").read_text()
    assert f"#define STRIP_COLUMNS {max(kernels.CPU_COLUMNS, kernels.NARROW_COLUMNS)}\n" in text


def test_bits_do_not_depend_on_how_wide_strips_are() -> None:
    """So they do not on the number of threads, which decides it."""
    matrices = [kernels.WeightMatrix(0, 130, 520, 0), kernels.WeightMatrix(130 * 520, 7, 70, 520)]
    size, gains = 130 * 520 + 7 * 70, 590
    random = np.random.default_rng(0)
    trained, grad = random.normal(size=size + gains).astype(np.float32), random.normal(size=size).astype(np.float32)
    bits = set()
    for columns in (kernels.CPU_COLUMNS, kernels.NARROW_COLUMNS, 24):
        table = kernels.strips(matrices, columns)
        statistics, weights = np.zeros(2 * gains, np.float32), np.zeros(size, np.float32)
        device, of_trained = CpuDevice(1), np.zeros(size + gains, np.float32)
        kernels.standardize(device, table, trained, None, statistics, weights, size)
        kernels.gradients(device, table, trained, statistics, grad, of_trained, size)
        assert (weights != 0).all() and (of_trained != 0).all()
        bits.add((weights.tobytes(), of_trained.tobytes()))
    assert len(bits) == 1


# The gradient


def test_the_gradient_against_central_differences() -> None:
    """In float64, of a loss that is smooth in the weights: each raw weight and each gain, 1e-6 of the gradient."""
    random = np.random.default_rng(1)
    raw, gains, pull = random.normal(0.4, 1, (18, 7)), random.uniform(0.5, 2, 7), random.normal(size=(18, 7))

    def loss(raw: np.ndarray, gains: np.ndarray) -> float:
        weights, _, _ = reference.standardized(raw, gains)
        return float((pull * weights).sum() + np.sin(weights).sum())

    weights, _, _ = reference.standardized(raw, gains)
    of_raw, of_gains = reference.gradients(raw, gains, pull + np.cos(weights))
    assert relative_error(differences(lambda moved: loss(moved, gains), raw), of_raw) < 1e-6
    assert relative_error(differences(lambda moved: loss(raw, moved), gains), of_gains) < 1e-6


@pytest.mark.parametrize("slope", [1.0, 0.4])
def test_a_networks_gradient_against_central_differences(slope: float) -> None:
    """End to end in float64, at what the engine trains: raw weights and gains of all layers, 1e-6 of the gradient."""
    net = network(psp_slope=slope, clip="none")
    images, labels = small_network.images(5), batch(net)[1]
    trained = {name: array.astype(np.float64) for name, array in net.parameters.trained_dict().items()}

    def reference_network(trained: dict[str, np.ndarray]) -> earliness.Network:
        weights = weights_of(trained)
        return earliness.build(read(small_network.SPEC, small_network.CLASSES), weights, psp_slope=slope, clip="none")

    def loss(name: str, moved: np.ndarray) -> float:
        return reference_network({**trained, name: moved}).loss_and_gradients(encoded, labels)[0]

    encoded = earliness.encode(images.astype(np.float64), 1.0)
    _, of_weights = reference_network(trained).loss_and_gradients(encoded, labels)
    for name in SPIKING:
        raw, gains = trained[f"{name}.v"], trained[f"{name}.g"]
        columns, grad = (array.reshape(len(gains), -1).T for array in (raw, of_weights[f"{name}.weight"]))
        of_raw, of_gains = reference.gradients(columns, gains, grad)
        assert relative_error(differences(lambda moved: loss(f"{name}.g", moved), gains), of_gains) < 1e-6  # noqa: B023
        chosen = np.random.default_rng(2).choice(raw.size, 20, replace=False)
        found = differences(lambda moved: loss(f"{name}.v", moved), raw, chosen)  # noqa: B023
        expected = of_raw.T.reshape(raw.shape).reshape(-1)[chosen]
        assert np.abs(found - expected).max() < 1e-6 * np.linalg.norm(of_raw)


def differences(
    loss: Callable[[np.ndarray], float], at: np.ndarray, chosen: np.ndarray | None = None, step: float = 1e-5
) -> np.ndarray:
    """Central differences, of all elements or of those chosen."""
    found = []
    for place in range(at.size) if chosen is None else chosen:
        unit = np.zeros(at.size)
        unit[place] = step
        unit = unit.reshape(at.shape)
        found.append((loss(at + unit) - loss(at - unit)) / (2 * step))
    return np.array(found) if chosen is not None else np.reshape(found, at.shape)


def test_the_engines_gradient_is_the_references() -> None:
    net = network()
    _, of_weights = net.loss_and_gradients(*batch(net))
    found, trained = trained_gradients(net), net.parameters.trained_dict()
    for name in SPIKING:
        gains = trained[f"{name}.g"].astype(np.float64)
        arrays = (trained[f"{name}.v"], of_weights[f"{name}.weight"])
        columns, grad = (array.reshape(len(gains), -1).T.astype(np.float64) for array in arrays)
        of_raw, of_gains = reference.gradients(columns, gains, grad)
        assert relative_error(found[f"{name}.v"].reshape(len(gains), -1).T, of_raw) < 1e-5
        assert relative_error(found[f"{name}.g"], of_gains) < 1e-5
    assert found["readout.weight"].tobytes() == of_weights["readout.weight"].tobytes()


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_blocks_compute_what_a_cpu_does() -> None:
    on_gpu, on_cpu = network(device=EmulatedGpu()), network(device="cpu")
    for name, weights in on_cpu.state_dict().items():
        assert relative_error(on_gpu.state_dict()[name], weights) < 1e-6
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal(on_cpu.parameters.size).astype(np.float32)
    for net in (on_gpu, on_cpu):
        net.parameters.gradients[...] = gradients
    expected = trained_gradients(on_cpu)
    for name, gradient in trained_gradients(on_gpu).items():
        assert relative_error(gradient, expected[name]) < 2e-6


# A step


@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_raw_weights_decay_and_gains_do_not(kind: Any) -> None:
    net = network()
    before = net.parameters.trained_dict()
    optimizer = kind(net.device, net.parameters, 0.1, limits=Limits(weight_decay=0.5))
    net.parameters.gradients[...] = 0
    optimizer.step()
    after = net.parameters.trained_dict()
    for name, array in after.items():
        expected = before[name] if name.endswith(".g") else before[name] * np.float32(0.95)
        assert np.allclose(array, expected, rtol=1e-6, atol=0), name
    for name, expected in weights_of(after).items():
        assert relative_error(net.state_dict()[name], expected) < 1e-6


def test_a_step_moves_what_is_trained_as_its_gradient_says() -> None:
    net = network()
    optimizer = Sgd(net.device, net.parameters, 0.05)
    net.loss_and_gradients(*batch(net))
    before, gradients = net.parameters.trained_dict(), trained_gradients(net)
    optimizer.step()
    for name, array in net.parameters.trained_dict().items():
        assert np.allclose(array, before[name] - 0.05 * gradients[name], rtol=1e-5, atol=1e-7), name
    for name, expected in weights_of(net.parameters.trained_dict()).items():
        assert relative_error(net.state_dict()[name], expected) < 1e-6


def test_the_norm_that_is_clipped_is_that_of_what_is_trained() -> None:
    net = network()
    net.loss_and_gradients(*batch(net))
    norm = float(np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in trained_gradients(net).values())))
    for bound, clipped in ((1.01 * norm, 0), (0.99 * norm, 1)):
        optimizer = Sgd(net.device, net.parameters, 1e-6, limits=Limits(clip_norm=bound))
        optimizer.step()
        assert optimizer.counts.clipped == clipped


@pytest.mark.parametrize(
    ("limits", "name"), [(Limits(weight_clip=(-1, 1)), "weight_clip"), (Limits(fixed_sign=True), "fixed_sign")]
)
def test_bounds_and_signs_of_raw_weights_are_refused(limits: Limits, name: str) -> None:
    net = network()
    with pytest.raises(UserError, match=f"^{name} does not go with standardised weights"):
        Adam(net.device, net.parameters, limits=limits)


def test_an_unknown_normalization_is_refused() -> None:
    with pytest.raises(UserError, match="normalization must be one of none, weight, not 'batch'"):
        small_network.build(normalization="batch")


@pytest.mark.parametrize("kind", [Adam, Sgd])
def test_a_step_that_is_skipped_changes_no_weight(kind: Any) -> None:
    """Also not those of another network, whose sums are not 0 before the first step."""
    net = network()
    net.load_state_dict(small_network.build(seed=5).state_dict())
    before, trained = net.state_dict(), net.parameters.trained_dict()
    optimizer = kind(net.device, net.parameters, 0.1)
    net.parameters.gradients[...] = np.nan
    optimizer.step()
    assert (optimizer.counts.applied, optimizer.counts.skipped) == (0, 1)
    for now, then in ((net.state_dict(), before), (net.parameters.trained_dict(), trained)):
        assert all(now[name].tobytes() == array.tobytes() for name, array in then.items())


def test_a_mean_of_raw_weights_is_refused_since_it_would_be_taken_off() -> None:
    with pytest.raises(UserError, match="weight_mean has no effect with normalization weight but for the readout"):
        small_network.build(normalization="weight", weight_mean=0.1)


# What is saved


def trained_for(net: Network, steps: int, optimizer: Optimizer | None = None) -> Optimizer:
    optimizer = optimizer or Adam(net.device, net.parameters, 3e-3, limits=Limits(weight_decay=0.01))
    inputs, labels = batch(net)
    for _ in range(steps):
        net.train_step(net.device.to_device(inputs), net.device.to_device(labels), optimizer)
    return optimizer


def test_saved_weights_come_back_bit_for_bit() -> None:
    net, other = network(), network(seed=1)
    trained_for(net, 3)
    state = net.state_dict()
    other.load_state_dict(state)
    assert all(other.state_dict()[name].tobytes() == array.tobytes() for name, array in state.items())


def test_a_run_goes_on_from_what_is_trained_to_the_same_bits() -> None:
    net, other = network(), network(seed=1)
    optimizer = trained_for(net, 3)
    resumed = Adam(other.device, other.parameters, 3e-3, limits=Limits(weight_decay=0.01))
    other.parameters.load_trained(net.parameters.trained_dict())
    resumed.load_state_dict(optimizer.state_dict())
    for one, of_one in ((net, optimizer), (other, resumed)):
        trained_for(one, 3, of_one)
    for name, array in net.parameters.trained_dict().items():
        assert other.parameters.trained_dict()[name].tobytes() == array.tobytes()
    assert host(net.parameters.values).tobytes() == host(other.parameters.values).tobytes()


def test_training_goes_on_from_weights_of_any_network() -> None:
    """What is loaded is what the network is; from the first step on each neuron's weights sum to zero."""
    plain, net = small_network.build(seed=5), network()
    given = plain.state_dict()
    net.load_state_dict(given)
    encoded, labels = batch(net)
    assert host(net.forward(encoded)).tobytes() == host(plain.forward(encoded)).tobytes()
    net.train_step(encoded, net.device.to_device(labels), Sgd(net.device, net.parameters, 1e-9))
    for name in SPIKING:
        rows = given[f"{name}.weight"].reshape(len(given[f"{name}.weight"]), -1)
        centred = rows - rows.mean(axis=1, keepdims=True)
        assert relative_error(net.state_dict()[f"{name}.weight"].reshape(rows.shape), centred) < 1e-5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: state.pop("conv1.g"), r"weights 'conv1.g' are missing"),
        (lambda state: state.update({"conv1.g": np.ones(4, np.float32)}), r"weights 'conv1.g' have shape \(4,\)"),
        (lambda state: state.update({"conv1.weight": state["conv1.v"]}), r"are not in this network \(conv1.v, "),
        (lambda state: state["linear1.v"].__setitem__(0, np.nan), r"weights 'linear1.v' are not all finite"),
    ],
)
def test_what_does_not_fit_changes_nothing(change: Any, sentence: str) -> None:
    net = network()
    before, state = net.parameters.trained_dict(), net.parameters.trained_dict()
    change(state)
    with pytest.raises(ValueError, match=sentence):
        net.parameters.load_trained(state)
    assert all(net.parameters.trained_dict()[name].tobytes() == array.tobytes() for name, array in before.items())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_trains_apart_and_alike(copied: Any) -> None:
    net = network()
    optimizer = trained_for(net, 2)
    other, other_optimizer = copied((net, optimizer))
    before = host(other.parameters.trained).copy()
    trained_for(net, 2, optimizer)
    assert host(other.parameters.trained).tobytes() == before.tobytes()
    trained_for(other, 2, other_optimizer)
    assert host(other.parameters.trained).tobytes() == host(net.parameters.trained).tobytes()


@pytest.mark.parametrize("factor", [0.5, 3.0, 100.0])
def test_the_size_of_raw_weights_does_not_matter(factor: float) -> None:
    net = network()
    expected, trained = net.state_dict(), net.parameters.trained_dict()
    for name in SPIKING:
        trained[f"{name}.v"] *= np.float32(factor)
    net.parameters.load_trained(trained)
    assert all(relative_error(net.state_dict()[name], weights) < 1e-3 for name, weights in expected.items())
