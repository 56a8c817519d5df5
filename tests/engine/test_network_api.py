"""What `models.build` returns, as notebooks and other programs use it (the issue's Python contract)."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.small_network import CLASSES, SHAPE, SHAPES, build, images
from reference.comparison import DEVICE, host

from ttfs_cupy import models
from ttfs_cupy.engine.network import Network
from ttfs_cupy.engine.optimizer import Adam

# Shapes, names, types


def test_encoded_images_are_earliness_with_channels_last() -> None:
    pixels = images(3)
    encoded = host(build(t_win=2.0).encode(pixels))
    assert encoded.dtype == np.float32
    np.testing.assert_array_equal(encoded, 2 * pixels.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.uint8, np.bool_])
def test_any_numbers_in_range_are_images(dtype: type, net: Network) -> None:
    pixels: np.ndarray = (images(2) > 0.5).astype(dtype)
    np.testing.assert_array_equal(host(net.encode(pixels)), pixels.transpose(0, 2, 3, 1))


def test_images_need_not_be_contiguous(net: Network) -> None:
    pixels = images(4)
    np.testing.assert_array_equal(host(net.encode(pixels[::2])), host(net.encode(pixels[::2].copy())))


def test_forward(net: Network) -> None:
    readout = net.forward(net.encode(images(3)))
    assert (readout.shape, readout.dtype) == ((3, CLASSES), np.float32)


def test_weights_and_gradients_are_named_alike_in_layer_order(net: Network) -> None:
    loss, gradients = net.loss_and_gradients(net.encode(images(3)), np.array([0, 3, 1]))
    state = net.state_dict()
    assert isinstance(loss, float)
    assert loss > 0
    for arrays in (state, gradients):
        assert list(arrays) == list(SHAPES)
        assert {name: array.shape for name, array in arrays.items()} == SHAPES
        assert all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays.values())
    assert all(np.abs(array).max() > 0 for array in gradients.values())


@pytest.mark.parametrize("label_type", [np.int64, np.int32, np.uint8, list])
def test_labels_of_any_integer_type(label_type: Any, net: Network) -> None:
    labels = [1, 2] if label_type is list else np.array([1, 2], label_type)
    expected, _ = net.loss_and_gradients(net.encode(images(2)), np.array([1, 2]))
    assert net.loss_and_gradients(net.encode(images(2)), labels)[0] == expected


def test_spike_times_of_every_spiking_layer_and_pooling(net: Network) -> None:
    net.forward(net.encode(images(3)))
    times = net.spike_times()
    assert {name: array.shape for name, array in times.items()} == {
        "conv1": (3, 5, 7, 9),
        "pool1": (3, 5, 3, 4),
        "linear1": (3, 6),
    }
    assert list(times) == ["conv1", "pool1", "linear1"]
    for name, array in times.items():
        assert array.dtype == np.float32, name
        fired = np.isfinite(array)
        assert (array[fired] >= 0).all(), name
        assert (array[fired] < 1).all(), name
        assert np.isposinf(array[~fired]).all(), name
    assert 0 < np.isfinite(times["conv1"]).mean() < 1
    # the earliest spike of each window
    windows = times["conv1"][:, :, :6, :8].reshape(3, 5, 3, 2, 4, 2)
    np.testing.assert_array_equal(times["pool1"], windows.min(axis=(3, 5)))


def test_a_readout_that_fires_has_spike_times_too() -> None:
    net = build(readout="spike_times", t_win=2.0)
    readout = host(net.forward(net.encode(images(3))))
    times = net.spike_times()["readout"]
    np.testing.assert_array_equal(times, np.where(readout == 0, np.inf, 2 - readout))
    assert times.shape == (3, CLASSES)


def test_black_images_are_silent_everywhere(net: Network) -> None:
    readout = host(net.forward(net.encode(np.zeros((2, *SHAPE)))))
    assert (readout == 0).all()
    assert all(np.isposinf(array).all() for array in net.spike_times().values())


def test_spike_times_before_any_forward(net: Network) -> None:
    with pytest.raises(ValueError, match="there has been none"):
        net.spike_times()


def test_summary_has_a_line_for_each_layer(net: Network) -> None:
    lines = net.summary().splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "forward", "training"]
    starts = ["input", "conv1", "pool1", "linear1", "readout", "total"]
    assert [line.split()[0] for line in lines[2:-1] if not line.startswith("-")] == starts


def test_a_notebook_shows_the_summary_as_a_table(net: Network) -> None:
    net.plan(2)
    table = ElementTree.fromstring(net._repr_html_())  # well-formed
    assert table.tag == "table" and [part.tag for part in table] == ["caption", "thead", "tbody", "tfoot"]
    head, *rows = ([cell.text or "" for cell in row] for row in table.iter("tr"))
    text = net.summary().splitlines()
    told = [line.split() for line in text if not line.startswith("-")]
    assert head == told[0]
    assert [" ".join(row).split() for row in rows] == told[1 : 1 + len(rows)]
    assert (table[0].text or "").split("; ") == [text[-2].strip("()"), text[-1]]
    # each head says what it is the head of
    heads = {cell.get("scope") for row in table.iter("tr") for cell in row if cell.tag == "th"}
    assert heads == {"col", "row"} and all(row[0].get("scope") for row in table.iter("tr"))
    assert repr(net) == object.__repr__(net)


def test_a_name_in_the_table_is_escaped(net: Network) -> None:
    net.layers[0].name = "<b>&"
    table = ElementTree.fromstring(net._repr_html_())
    assert [row[0].text for row in table.iter("tr")][2] == "<b>&"


# State between calls


def test_results_are_not_overwritten_by_the_next_call(net: Network) -> None:
    first = net.encode(images(3, seed=1))
    readout = net.forward(first)
    times = net.spike_times()
    _, gradients = net.loss_and_gradients(first, np.array([0, 1, 2]))
    state = net.state_dict()
    results = {"encoded": first, "readout": readout, **times, **gradients}
    copies = {name: host(array).copy() for name, array in results.items()}
    weights = {name: array.copy() for name, array in state.items()}

    other = net.encode(images(3, seed=2))
    net.forward(other)
    net.loss_and_gradients(other, np.array([3, 3, 3]))
    net.load_state_dict({name: array + 1 for name, array in state.items()})
    for name, array in results.items():
        np.testing.assert_array_equal(host(array), copies[name], err_msg=name)
    for name, array in state.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


def test_writing_to_results_changes_nothing(net: Network) -> None:
    encoded = net.encode(images(2))
    expected = host(net.forward(encoded)).copy()
    for array in net.state_dict().values():
        array[...] = 0
    net.forward(encoded)[...] = 5
    np.testing.assert_array_equal(host(net.forward(encoded)), expected)


def test_copies_are_copies_even_where_no_axis_needs_to_move() -> None:
    net = models.build([1], (1, 5, 5), 2, DEVICE)
    state = net.state_dict()
    _, gradients = net.loss_and_gradients(net.encode(np.full((1, 1, 5, 5), 0.5)), np.array([1]))
    before = {name: array.copy() for name, array in gradients.items()}
    net.load_state_dict({name: np.full_like(array, 0.25) for name, array in state.items()})
    net.loss_and_gradients(net.encode(np.full((1, 1, 5, 5), 0.9)), np.array([0]))
    for name, array in gradients.items():
        np.testing.assert_array_equal(array, before[name])
        assert not (state[name] == 0.25).any()


def test_batches_of_any_size_in_any_order(net: Network) -> None:
    pixels, labels = images(9), np.arange(9) % CLASSES
    alone = {count: build().loss_and_gradients(net.encode(pixels[:count]), labels[:count]) for count in (9, 2, 5, 1)}
    for count, (expected_loss, expected) in alone.items():
        loss, gradients = net.loss_and_gradients(net.encode(pixels[:count]), labels[:count])
        assert loss == expected_loss
        for name, array in gradients.items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert len(net.forward(net.encode(pixels[:count]))) == count
        assert all(len(times) == count for times in net.spike_times().values())


def test_an_images_answer_does_not_depend_on_its_batch(net: Network) -> None:
    pixels = images(5)
    together = host(net.forward(net.encode(pixels)))
    one_by_one = np.concatenate([host(net.forward(net.encode(pixels[i : i + 1]))) for i in range(5)])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5, atol=1e-6)


def test_the_loss_is_the_mean_over_the_batch(net: Network) -> None:
    pixels, labels = images(4), np.array([0, 1, 2, 3])
    alone = [net.loss_and_gradients(net.encode(pixels[i : i + 1]), labels[i : i + 1]) for i in range(4)]
    loss, gradients = net.loss_and_gradients(net.encode(pixels), labels)
    assert loss == pytest.approx(np.mean([each for each, _ in alone]), rel=1e-5)
    for name, array in gradients.items():
        np.testing.assert_allclose(array, np.mean([each[name] for _, each in alone], axis=0), rtol=1e-3, atol=1e-5)


# Weights


def test_a_training_step_plans_for_its_batch() -> None:
    rng = np.random.default_rng(0)
    net = models.build([8, "P"], (1, 6, 6), 4, DEVICE)
    optimizer = Adam(net.device, net.parameters)
    for batch in (3, 7):
        inputs = net.encode(rng.random((batch, 1, 6, 6)))
        net.train_step(inputs, net.device.to_device(np.zeros(batch, np.int32)), optimizer)
        assert net.loss.read().images == batch
    assert optimizer.counts.applied == 2


def test_the_same_seed_draws_the_same_weights() -> None:
    first, same, other = (build(seed=seed).state_dict() for seed in (3, 3, 4))
    for name, array in first.items():
        np.testing.assert_array_equal(array, same[name])
        assert np.mean(array != other[name]) > 0.99, name


def test_weights_are_numpys_own_normal_numbers_scaled_by_kaiming() -> None:
    drawn = np.random.Generator(np.random.PCG64(7))
    for name, array in build(seed=7).state_dict().items():
        fan_in = np.prod(array.shape[1:])
        expected = drawn.standard_normal(array.shape) * np.sqrt(2 / fan_in)
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-9, err_msg=name)


def test_mean_and_deviation_of_weights_may_be_given() -> None:
    weights = np.concatenate([array.ravel() for array in build(weight_mean=0.5, weight_std=0.01).state_dict().values()])
    assert abs(weights.mean() - 0.5) < 0.003
    assert abs(weights.std() - 0.01) < 0.002


def test_mean_and_deviation_of_weights_may_be_given_by_layer() -> None:
    plain = build(seed=3).state_dict()
    names = [name.removesuffix(".weight") for name in plain]
    found = build(seed=3, weight_mean={names[0]: 0.5}, weight_std={names[0]: 0.01, "readout": 0.25}).state_dict()
    for name, array in plain.items():
        spread = np.sqrt(2 / np.prod(array.shape[1:]))
        mean, std = {names[0]: (0.5, 0.01), "readout": (0.0, 0.25)}.get(name.removesuffix(".weight"), (0.0, spread))
        np.testing.assert_allclose(found[name], mean + array * (std / spread), rtol=1e-5, atol=1e-7, err_msg=name)
    # what is not named is drawn as ever, to the bit
    np.testing.assert_array_equal(found[f"{names[1]}.weight"], plain[f"{names[1]}.weight"])
    standardised = build(seed=3, normalization="weight", weight_mean={"readout": 0.5}).state_dict()
    np.testing.assert_allclose(standardised["readout.weight"], plain["readout.weight"] + np.float32(0.5), rtol=1e-6)


def test_loaded_weights_are_used_and_come_back(net: Network) -> None:
    other = build(seed=9)
    net.load_state_dict(other.state_dict())
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(net.state_dict()[name], array)
    encoded = net.encode(images(3))
    np.testing.assert_array_equal(host(net.forward(encoded)), host(other.forward(encoded)))


def test_weights_are_taken_in_any_order_and_number_type(net: Network) -> None:
    state = dict(reversed(build(seed=9).state_dict().items()))
    net.load_state_dict({name: array.astype(np.float64) for name, array in state.items()})
    for name, array in state.items():
        np.testing.assert_array_equal(net.state_dict()[name], array)


def test_a_full_connections_weights_are_in_pytorchs_order(net: Network) -> None:
    """Inputs of a full connection count channel, row, column: one weight 1 picks out that neuron below it."""
    state = {name: np.zeros_like(array) for name, array in net.state_dict().items()}
    net.load_state_dict({**state, "conv1.weight": build().state_dict()["conv1.weight"]})
    channel, row, column = 3, 2, 1
    state = net.state_dict()
    state["linear1.weight"][2, np.ravel_multi_index((channel, row, column), (5, 3, 4))] = 1
    net.load_state_dict(state)
    net.psp_slope = 0
    net.forward(net.encode(images(3)))
    times = net.spike_times()
    np.testing.assert_array_equal(times["linear1"][:, 2], times["pool1"][:, channel, row, column])
    assert np.isfinite(times["linear1"][:, 2]).any()
    assert np.isposinf(np.delete(times["linear1"], 2, axis=1)).all()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("linear1.weight"), r"'linear1\.weight' are missing"),
        (lambda state: state.update({"conv2.weight": np.zeros(3)}), r"'conv2\.weight' are not in this network"),
        (lambda state: state.update({"readout.weight": np.zeros((6, 4))}), r"'readout\.weight'.*\(6, 4\).*\(4, 6\)"),
        (lambda state: state["readout.weight"].fill(np.nan), r"'readout\.weight' are not all finite"),
        (lambda state: state["readout.weight"].fill(np.inf), r"'readout\.weight' are not all finite"),
        (
            lambda state: state.update({"readout.weight": np.full((4, 6), 1e300)}),
            r"'readout\.weight' are not all finite",
        ),
    ],
)
def test_weights_that_do_not_fit_change_nothing(spoil: Any, message: str, net: Network) -> None:
    before = net.state_dict()
    state = build(seed=5).state_dict()
    spoil(state)
    with pytest.raises(ValueError, match=message):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


# The slope


def test_the_slope_can_be_changed(net: Network) -> None:
    encoded = net.encode(images(3))
    at_one = host(net.forward(encoded))
    net.psp_slope = 0.25
    assert net.psp_slope == 0.25
    np.testing.assert_array_equal(host(net.forward(encoded)), host(build(psp_slope=0.25).forward(encoded)))
    assert not np.array_equal(host(net.forward(encoded)), at_one)
    net.psp_slope = 1
    np.testing.assert_array_equal(host(net.forward(encoded)), at_one)


@pytest.mark.parametrize("slope", [-0.1, 1.1, float("nan"), float("inf")])
def test_slopes_outside_the_unit_interval(slope: float, net: Network) -> None:
    with pytest.raises(ValueError, match="psp_slope must be a number from 0 to 1"):
        net.psp_slope = slope
    with pytest.raises(ValueError, match="psp_slope"):
        build(psp_slope=slope)
    assert net.psp_slope == 1
